"""Rules about model-local functions: whose opsets count for the operators inside, and what may be inside."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import defs, helper

from lineside.export.doctor.graph_view import Place
from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import GraphSubject

__all__ = ["RULES", "is_misread"]

FLATTENING = frozenset({"Hardmax", "LogSoftmax", "Softmax"})
"""Operators that took all axes from the given one on as one, until opset 13."""


def is_misread(subject: GraphSubject, place: Place) -> bool:
    """Whether a target that reads functions in the opsets of the model takes a node for something else.

    Args:
        subject: Graph and target.
        place: A node.

    Returns:
        Whether the operator is gone, has lost an attribute of the node, or has other defaults or inputs there.
    """
    own, theirs = subject.view.opset(place), subject.opset(place)
    meant = subject.view.schema(place, own)
    if own == theirs or meant is None:
        return False
    read = subject.view.schema(place, theirs)
    if read is None or read.deprecated:
        return True
    return meant.since_version != read.since_version and _differs(place, meant, read)


def _differs(place: Place, meant: defs.OpSchema, read: defs.OpSchema) -> bool:
    """Whether two versions of an operator are more than a longer list of element types."""
    given = {entry.name for entry in place.node.attribute}
    if not given <= read.attributes.keys() or meant.name in FLATTENING:
        return True
    if any(
        name in read.attributes and _default(attribute) != _default(read.attributes[name])
        for name, attribute in meant.attributes.items()
        if name not in given
    ):
        return True
    names = [[value.name.lower() for value in schema.inputs[: len(place.node.input)]] for schema in (meant, read)]
    return [name.removeprefix("input_") for name in names[0]] != [name.removeprefix("input_") for name in names[1]]


def _default(attribute: defs.OpSchema.Attribute) -> object:
    value = attribute.default_value
    return helper.get_attribute_value(value) if value.type else None


def _misread(subject: GraphSubject) -> Iterator[Hit]:
    for place in subject.view.places:
        if place.function is not None and is_misread(subject, place):
            yield Hit(
                place.where,
                {
                    "op": place.node.op_type,
                    "own": subject.view.opset(place),
                    "opset": subject.opset(place),
                    "target": f"{subject.target.runtime} {subject.target.version}",
                },
            )


def _scans(subject: GraphSubject) -> Iterator[Hit]:
    """Scans inside of functions, for a target that runs functions and not that."""
    if not subject.target.functions or subject.target.scan_in_function:
        return
    for place in subject.view.places:
        if place.function is not None and place.node.op_type == "Scan" and not place.domain:
            yield Hit(
                place.where,
                {"name": place.function.name, "target": f"{subject.target.runtime} {subject.target.version}"},
            )


RULES = (
    Rule(
        id="scan-in-function",
        looks_at="graph",
        severity="cannot-run",
        find=_scans,
        reason="the function {name} holds a Scan, and {target} runs functions and no Scan inside of one",
        remedy="give the engine a kernel or plugin of that name, or inline the functions (onnx.inliner)",
    ),
    Rule(
        id="function-opset",
        looks_at="graph",
        severity="cannot-run",
        find=_misread,
        reason="the function is written in opset {own}, and {target} reads {op} in it in opset {opset}, that of the model, where "
        "it is gone or means something else",
        remedy="write the function in the opset of the model, or inline it with onnx.inliner and convert the model with "
        "onnx.version_converter",
    ),
)
"""Rules about functions."""
