"""Rules about operators: kernels, custom ops, functions, what has no ONNX form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from onnx import defs

from lineside.export.doctor.bodies import NO_KERNEL, runs_by_body
from lineside.export.doctor.graph_view import Place
from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.rules.functions import is_misread
from lineside.export.doctor.subject import GraphSubject
from lineside.export.ops.op import DOMAIN

__all__ = ["HALF", "RULES", "TORCH", "missing_types"]

TORCH = ("aten", "prim", "org.pytorch.aten", "org.pytorch.prim", "org.pytorch.quantized")
"""Domains of what torch's exporter leaves behind where it knows no ONNX form."""

HALF = ("float16", "bfloat16")


def missing_types(subject: GraphSubject, place: Place) -> dict[str, str] | None:
    """Type parameters of an operator of which the target has no kernel for the type that the graph gives them.

    Args:
        subject: Graph and target.
        place: A node with an operator that onnx knows.

    Returns:
        Element types by parameter, empty where a kernel fits; None where there is no kernel for any type.
    """
    view, opset = subject.view, subject.opset(place)
    since = view.since(place, opset)
    kernels = subject.target.find_kernels(place.domain, place.node.op_type, 1 if since is None else since)
    if not kernels:
        return None
    schema = view.schema(place, opset)
    if schema is None or place.function is not None or place.nested:
        return {}  # nothing tells the types inside
    given = _types(view.element_type, place, schema)
    best: dict[str, str] | None = None
    for kernel in kernels:
        wrong = {key: kind for key, kind in given.items() if kind not in kernel.types.get(key, (kind,))}
        best = wrong if best is None or len(wrong) < len(best) else best
    return best


def _types(element_type: Callable[[str], str | None], place: Place, schema: defs.OpSchema) -> dict[str, str]:
    """Element type of each type parameter, where the graph tells."""
    found: dict[str, str] = {}
    for names, formals in ((place.node.input, schema.inputs), (place.node.output, schema.outputs)):
        for index, name in enumerate(names):
            formal = formals[min(index, len(formals) - 1)] if formals else None
            kind = element_type(name) if name else None
            if formal is not None and kind and not formal.is_homogeneous and index >= len(formals) - 1:
                continue  # a last input that stands for several of different types
            if formal is not None and kind:
                found.setdefault(formal.type_str, kind)
    return found


def _standard(subject: GraphSubject) -> Iterator[Place]:
    """Nodes of operators that the target should know."""
    for place in subject.view.places:
        known = place.domain in subject.target.kernels and place.node.op_type not in NO_KERNEL
        if known and subject.view.called(place.node) is None and not is_misread(subject, place):
            yield place


def _by_body(subject: GraphSubject, place: Place) -> bool:
    """Whether the target runs the body that the standard gives an operator."""
    outside = bool(place.node.input) and place.function is None
    kind = subject.view.element_type(place.node.input[0]) if outside else None
    kind = "float" if kind in HALF else kind  # converted around each step
    return not place.domain and runs_by_body(place.node.op_type, subject.opset(place), kind, subject.target)


def _lacks_kernel(subject: GraphSubject, place: Place) -> bool:
    """Whether there is no kernel for a node, neither for its type nor, for half precision, for float32."""
    wrong = missing_types(subject, place)
    return wrong is None or (bool(wrong) and not all(kind in HALF for kind in wrong.values()))


def _details(subject: GraphSubject, place: Place) -> dict[str, object]:
    since = subject.view.since(place, subject.opset(place))
    domain = f"{place.domain}::" if place.domain else ""
    return {
        "op": f"{domain}{place.node.op_type}",
        "since": f" (opset {since})" if since else "",
        "target": f"{subject.target.runtime} {subject.target.version}",
    }


def _kernel(subject: GraphSubject) -> Iterator[Hit]:
    for place in _standard(subject):
        if place.node.op_type != "DeformConv" and _lacks_kernel(subject, place) and not _by_body(subject, place):
            wrong = missing_types(subject, place) or {}
            types = " with " + ", ".join(f"{key} = {kind}" for key, kind in wrong.items()) if wrong else ""
            yield Hit(place.where, _details(subject, place) | {"types": types})


def _native_deform(subject: GraphSubject) -> Iterator[Hit]:
    for place in _standard(subject):
        if place.node.op_type == "DeformConv" and missing_types(subject, place) is None:
            yield Hit(place.where, _details(subject, place))


def _standard_body(subject: GraphSubject) -> Iterator[Hit]:
    for place in _standard(subject):
        if _lacks_kernel(subject, place) and _by_body(subject, place):
            yield Hit(place.where, _details(subject, place))


def _ours(subject: GraphSubject) -> Iterator[Hit]:
    for place in subject.view.places:
        if place.domain == DOMAIN and subject.target.functions:
            yield Hit(place.where, _details(subject, place))


def _functions(subject: GraphSubject) -> Iterator[Hit]:
    for place in subject.view.places:
        foreign = subject.view.called(place.node) is not None and place.domain != DOMAIN
        if foreign and subject.target.functions:
            yield Hit(place.where, _details(subject, place))


def _no_functions(subject: GraphSubject) -> Iterator[Hit]:
    for place in subject.view.places:
        if subject.view.called(place.node) is not None and not subject.target.functions:
            yield Hit(place.where, _details(subject, place))


def _unknown(subject: GraphSubject) -> Iterator[Hit]:
    for place in subject.view.places:
        declared = subject.view.called(place.node) is not None or (subject.traced and place.domain == DOMAIN)
        if place.domain in subject.target.kernels or place.domain in TORCH or declared:
            continue
        if not subject.target.unknown_operators:
            yield Hit(place.where, _details(subject, place))


def _no_form(subject: GraphSubject) -> Iterator[Hit]:
    """One place per module, with everything in it; what follows from the first in it is often no fault of its own."""
    operators: dict[str, dict[str, None]] = {}
    for place in subject.view.places:
        if place.domain in TORCH:
            name = f"{place.domain.rpartition('.')[2]}::{place.node.op_type}"
            operators.setdefault(place.where, {})[name] = None
    for where, names in operators.items():
        complex_numbers = any(re.search("fft|complex|conj|::real|::imag", name) for name in names)
        hint = "; ONNX has no complex numbers: keep real and imaginary parts as two tensors" if complex_numbers else ""
        yield Hit(where, {"ops": ", ".join(names), "hint": hint})


RULES = (
    Rule(
        id="no-onnx-form",
        looks_at="graph",
        severity="will-not-export",
        find=_no_form,
        reason="torch has no ONNX form of {ops} in opset 18",
        remedy="replace the block with one made of standard operators{hint}",
    ),
    Rule(
        id="unknown-operator",
        looks_at="graph",
        severity="cannot-run",
        find=_unknown,
        reason="{op} is no standard operator, and the file holds no function of that name that says what it does",
        remedy="load the library that has it into the engine, or export the model with standard operators",
    ),
    Rule(
        id="no-functions",
        looks_at="graph",
        severity="cannot-run",
        find=_no_functions,
        reason="{op} is a model-local function, and {target} runs none",
        remedy="register a plugin of that name, or inline the functions (onnx.inliner)",
    ),
    Rule(
        id="no-kernel",
        looks_at="graph",
        severity="cannot-run",
        find=_kernel,
        reason="{target} has no kernel for {op}{since}{types}",
        remedy="export it again with another opset, or replace the block that it comes from",
    ),
    Rule(
        id="native-deform",
        looks_at="graph",
        severity="cannot-run",
        find=_native_deform,
        reason="{target} has no kernel for DeformConv; onnxruntime has one since 1.25",
        remedy="export with --deform portable, which samples with GridSample",
    ),
    Rule(
        id="custom-op",
        looks_at="graph",
        severity="custom-op",
        find=_ours,
        reason="becomes the node {op}; {target} runs the body of standard operators that the file carries, an engine with "
        "a kernel or plugin of that name runs that",
        remedy="nothing needs to be done",
    ),
    Rule(
        id="function-body",
        looks_at="graph",
        severity="fallback",
        find=_functions,
        reason="{op} is a function in the file; {target} runs its body",
        remedy="nothing needs to be done; register a kernel of that name where it is too slow",
    ),
    Rule(
        id="standard-body",
        looks_at="graph",
        severity="fallback",
        find=_standard_body,
        reason="{target} has no kernel for {op}{since} and runs the body that the standard gives it, one operator for each step",
        remedy="nothing needs to be done; a newer target may have a kernel",
    ),
)
"""Rules about operators."""
