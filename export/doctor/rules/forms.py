"""Rules about the form of a graph: what should have been folded, and what should not have been."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import helper

from lineside.export.budgets import MASK_BYTES
from lineside.export.doctor.graph_view import GraphView, Place, attribute
from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import GraphSubject

__all__ = ["RULES"]

CELLWISE = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where"})
"""Operators that take a mask; large constants of others are weights."""

CARRIED = frozenset({"Cast", "Identity", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Expand", "DequantizeLinear"})
"""Operators that a constant may go through before something takes it."""


def _transposes(subject: GraphSubject) -> Iterator[Hit]:
    for place in subject.view.places:
        order = attribute(place.node, "perm") if place.node.op_type == "Transpose" else None
        if isinstance(order, (list, tuple)) and sorted(order) != list(range(len(order))):
            yield Hit(place.where, {"perm": list(order)})


def _masks(subject: GraphSubject) -> Iterator[Hit]:
    """Large constants that are no weights, which only what works cell by cell takes."""
    view = subject.view
    for name, tensor in view.initializers.items():
        size = int(np.prod(tensor.dims, dtype=np.int64)) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        users = _takers(view, name) if size > MASK_BYTES else []
        if users and all(it.node.op_type in CELLWISE and not it.domain for it in users):
            yield Hit(users[0].where, {"shape": "x".join(map(str, tensor.dims)), "size": f"{size / 1e6:.0f}"})


def _takers(view: GraphView, name: str) -> list[Place]:
    """What takes a constant, across what only stores it in another form."""
    found: list[Place] = []
    names, seen = [name], {name}
    while names:
        for place in view.consumers.get(names.pop(), []):
            if place.node.op_type not in CARRIED or place.domain:
                found.append(place)
                continue
            names += [output for output in place.node.output if output not in seen]
            seen.update(place.node.output)
    return found


def _norms(subject: GraphSubject) -> Iterator[Hit]:
    """Normalisations behind a convolution that nothing else reads."""
    view = subject.view
    for place in view.top:
        if place.node.op_type != "BatchNormalization" or attribute(place.node, "training_mode", 0):
            continue
        source = view.producers.get(place.node.input[0])
        if source is None or source.node.op_type not in ("Conv", "ConvTranspose"):
            continue
        if len(view.consumers.get(source.node.output[0], [])) == 1:
            yield Hit(place.where)


def _training(subject: GraphSubject) -> Iterator[Hit]:
    for place in subject.view.places:
        if place.node.op_type == "BatchNormalization" and attribute(place.node, "training_mode", 0):
            yield Hit(place.where)


def _branches(subject: GraphSubject) -> Iterator[Hit]:
    """Sums of depth-wise convolutions of one input: a large kernel in the form that it is trained in."""
    view = subject.view
    families: dict[str, list[Place]] = {}
    for place in view.top:
        if place.node.op_type == "Conv" and _depth_wise(view, place):
            families.setdefault(place.node.input[0], []).append(place)
    for family in families.values():
        if len(family) > 1 and len({_form(view, it) for it in family}) > 1 and all(_summed(view, it) for it in family):
            yield Hit(family[0].where, {"count": len(family)})


def _depth_wise(view: GraphView, place: Place) -> bool:
    shape = view.shape(place.node.input[1])
    group = attribute(place.node, "group", 1)
    return shape is not None and len(shape) == 4 and shape[1] == 1 and isinstance(group, int) and group > 1


def _form(view: GraphView, place: Place) -> tuple[object, ...]:
    return (view.shape(place.node.input[1]), str(attribute(place.node, "dilations")))


def _summed(view: GraphView, place: Place) -> bool:
    """Whether what a convolution gives goes straight, or through its normalisation, into an addition."""
    users = view.consumers.get(place.node.output[0], [])
    while len(users) == 1 and users[0].node.op_type == "BatchNormalization":
        users = view.consumers.get(users[0].node.output[0], [])
    return len(users) == 1 and users[0].node.op_type in ("Add", "Sum")


RULES = (
    Rule(
        id="invalid-transpose",
        looks_at="graph",
        severity="cannot-run",
        find=_transposes,
        reason="its order {perm} is none of the axes: torch's exporter writes a negative axis of moveaxis down as it is, and no "
        "engine loads that",
        remedy="write the module without moveaxis, such as x.unsqueeze(2) - grid.view(1, 1, G, 1, 1) and flatten(1, 2); "
        "FastKAN of lineside.export.modules does",
    ),
    Rule(
        id="folded-mask",
        looks_at="graph",
        severity="slow",
        find=_masks,
        reason="a constant of {shape} that is no weight, {size} MB: a mask over positions that was folded into the graph; every "
        "load and every run reads it, it holds for one input size, and graphs of Lineside keep none above 16 MB",
        remedy="use MaSAd (chunk) in place of whole retention on large maps; blocks of Lineside add such a mask in two parts",
    ),
    Rule(
        id="training-form",
        looks_at="graph",
        severity="slow",
        find=_branches,
        reason="{count} depth-wise convolutions of one input are added: a re-parameterised block in the form that it is trained "
        "in, which one convolution replaces exactly",
        remedy="export the weights again with `lineside export`, which merges the branches, or merge them before you export",
    ),
    Rule(
        id="training-mode",
        looks_at="graph",
        severity="cannot-run",
        find=_training,
        reason="this normalisation takes the statistics of the picture at hand, as in training: results are not those of the model",
        remedy="export it again after model.eval()",
    ),
    Rule(
        id="unfused-normalisation",
        looks_at="graph",
        severity="slow",
        find=_norms,
        reason="it follows a convolution and was not folded into its weights: engines that do not fold it themselves walk over "
        "the map once more, and quantisation sees other ranges",
        remedy="fuse the model before you export it (`lineside export` does)",
    ),
)
"""Rules about the form of a graph."""
