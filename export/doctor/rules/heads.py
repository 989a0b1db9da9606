"""Rules about the head: what export can cut and the runtime can decode.

What export knows of heads imports torch, so each rule imports it when it looks: rules about graphs are read without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import ModuleSubject, WeightsSubject
from lineside.runtime.errors import LinesideError

__all__ = ["RULES"]


def _named(subject: WeightsSubject) -> Iterator[Hit]:
    from lineside.export.heads import unknown_head

    if subject.head and subject.head not in subject.heads:
        yield Hit(subject.head, {"what": unknown_head(subject.head)})


def _last(subject: ModuleSubject) -> tuple[str, Any]:
    layers = cast(Any, subject.model).model
    return f"model.{len(layers) - 1}", layers[-1]


def _unknown(subject: ModuleSubject) -> Iterator[Hit]:
    from lineside.export.heads import supported_heads, unknown_head

    where, head = _last(subject)
    kind = type(head).__name__
    if kind not in supported_heads() and _trouble(subject):
        yield Hit(where, {"what": unknown_head(kind)})


def _finest(head: Any) -> float:
    strides = [float(stride) for stride in getattr(head, "stride", ())]
    return strides[0] if strides else 0.0


def _coarse_prototypes(subject: ModuleSubject) -> Iterator[Hit]:
    from lineside.export.heads import PROTO_STRIDE

    where, head = _last(subject)
    finest = _finest(head)
    if hasattr(head, "proto") and finest and finest != 2 * PROTO_STRIDE:
        yield Hit(where, {"finest": f"{finest:g}", "cell": f"{finest / 2:g}", "wanted": PROTO_STRIDE})


def _trouble(subject: ModuleSubject) -> str:
    """Why export does not take the head; empty where it does."""
    from lineside.export.heads import find_head

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
)
"""Rules about heads."""
