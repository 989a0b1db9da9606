"""Rules about the head: what export can cut and the runtime can decode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import GraphSubject, ModuleSubject, WeightsSubject
from lineside.export.heads import PROTO_STRIDE, find_head, supported_heads, unknown_head
from lineside.runtime.errors import LinesideError

__all__ = ["RULES"]

SHORTEST_SIDE = 32
"""Side of a square input of which every usual stride is a divisor."""


def _named(subject: WeightsSubject) -> Iterator[Hit]:
    if subject.head and subject.head not in subject.heads:
        yield Hit(subject.head, {"what": unknown_head(subject.head)})


def _last(subject: ModuleSubject) -> tuple[str, Any]:
    layers = cast(Any, subject.model).model
    return f"model.{len(layers) - 1}", layers[-1]


def _unknown(subject: ModuleSubject) -> Iterator[Hit]:
    where, head = _last(subject)
    kind = type(head).__name__
    if kind not in supported_heads() and _trouble(subject):
        yield Hit(where, {"what": unknown_head(kind)})


def _finest(head: Any) -> float:
    strides = [float(stride) for stride in getattr(head, "stride", ())]
    return strides[0] if strides else 0.0


def _coarse_prototypes(subject: ModuleSubject) -> Iterator[Hit]:
    where, head = _last(subject)
    finest = _finest(head)
    if hasattr(head, "proto") and finest and finest != 2 * PROTO_STRIDE:
        yield Hit(where, {"finest": f"{finest:g}", "cell": f"{finest / 2:g}", "wanted": PROTO_STRIDE})


def _trouble(subject: ModuleSubject) -> str:
    """Why export does not take the head; empty where it does."""
    try:
        find_head(subject.model, subject.size, subject.end2end)
    except LinesideError as error:
        return str(error)
    return ""


def _otherwise(subject: ModuleSubject) -> Iterator[Hit]:
    where, _ = _last(subject)
    text = _trouble(subject)
    if text and not any(True for rule in (_unknown, _coarse_prototypes) for _ in rule(subject)):
        yield Hit(where, {"what": text})


def _free_outputs(subject: GraphSubject) -> Iterator[Hit]:
    """Outputs of free sides behind inputs that have none."""
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


def _suppression(subject: GraphSubject) -> Iterator[Hit]:
    return (Hit(place.where) for place in subject.view.places if place.node.op_type == "NonMaxSuppression")


RULES = (
    Rule(
        id="unknown-head-named",
        looks_at="weights",
        severity="will-not-export",
        find=_named,
        reason="the model ends in {what}",
        remedy="see docs/your-own-model.md for what export knows",
    ),
    Rule(
        id="unknown-head",
        looks_at="module",
        severity="will-not-export",
        find=_unknown,
        reason="the model ends in {what}",
        remedy="see docs/your-own-model.md for what export knows",
    ),
    Rule(
        id="prototype-stride",
        looks_at="module",
        severity="will-not-export",
        find=_coarse_prototypes,
        reason="the finest level has stride {finest}, so a prototype cell has {cell} pixels, and the bundle format has {wanted}",
        remedy="use a *-seg model whose finest level is P3 (stride 8)",
    ),
    Rule(
        id="head-refused",
        looks_at="module",
        severity="will-not-export",
        find=_otherwise,
        reason="{what}",
        remedy="correct that first: export says the same",
    ),
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
        id="embedded-nms",
        looks_at="graph",
        severity="slow",
        find=_suppression,
        reason="suppression in the graph works on all anchors with thresholds that are fixed there, so conf and iou of a "
        "call come too late; the runtime's own decodes survivors only",
        remedy="export it again with nms=False",
    ),
)
"""Rules about heads."""
