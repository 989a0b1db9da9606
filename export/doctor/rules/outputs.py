"""Rules about what a graph puts out: numbers of rows that nobody knows before, suppression inside."""

from __future__ import annotations

from collections.abc import Iterator

from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.rules.operators import TORCH
from lineside.export.doctor.subject import GraphSubject

__all__ = ["RULES"]


def _free_outputs(subject: GraphSubject) -> Iterator[Hit]:
    """Outputs of free sides behind inputs that have none."""
    if any(place.domain in TORCH for place in subject.view.places):
        return  # no shape is known behind such an operator
    graph = subject.view.model.graph
    weights = set(subject.view.initializers)
    inputs = [value for value in graph.input if value.name not in weights]
    if any(not side.HasField("dim_value") for value in inputs for side in value.type.tensor_type.shape.dim):
        return
    for value in graph.output:
        shape = value.type.tensor_type.shape
        sides = [side.dim_value if side.HasField("dim_value") else side.dim_param or "?" for side in shape.dim]
        if not value.type.tensor_type.HasField("shape") or any(isinstance(side, str) for side in sides):
            yield Hit(f"output {value.name}", {"sides": "x".join(map(str, sides)) or "?"})


RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def _drawn(subject: GraphSubject) -> Iterator[Hit]:
    for place in subject.view.places:
        if place.node.op_type in RANDOM and not place.domain:
            yield Hit(place.where, {"op": place.node.op_type})


def _suppression(subject: GraphSubject) -> Iterator[Hit]:
    return (Hit(place.where) for place in subject.view.places if place.node.op_type == "NonMaxSuppression")


RULES = (
    Rule(
        id="free-outputs",
        looks_at="graph",
        severity="cannot-run",
        find=_free_outputs,
        reason="its shape is {sides} though the input is fixed: how many rows there are shows only when it has run, and the "
        "runtime binds its buffers before",
        remedy="export it again without NMS in the graph, or with a fixed number of rows (max_det)",
    ),
    Rule(
        id="random-numbers",
        looks_at="graph",
        severity="note",
        find=_drawn,
        reason="{op} draws other numbers in every run: no two results agree, so neither export nor `lineside verify` can compare",
        remedy="leave out at inference what is random, or keep the numbers as a constant",
    ),
    Rule(
        id="embedded-nms",
        looks_at="graph",
        severity="slow",
        find=_suppression,
        reason="suppression in the graph works on all anchors with thresholds that are fixed there, so conf and iou of a "
        "call come too late; the runtime's own decodes survivors only",
        remedy="export it again with nms=False",
    ),
)
"""Rules about outputs."""
