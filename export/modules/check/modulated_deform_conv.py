"""Answers the reference vectors of the modulated deformable convolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lineside.export.modules.check.case import SAMPLED, Case, NoHandler
from lineside.export.modules.deform_conv import ModulatedDeformConv2d

__all__ = ["TOLERANCE", "answer"]

TOLERANCE = SAMPLED

LAYOUT = "2t=dy,2t+1=dx"
"""How a manifest says, spaces aside, that a tap's offsets are y and then x, tap after tap: the only order known here."""


def answer(case: Case) -> Mapping[str, Tensor]:
    """What our layer gives for the inputs and parameters of a case.

    Raises:
        NoHandler: It is not a case of this layer, or its offsets are in another order.
    """
    if "weight" not in case.params or not {"input", "offset", "mask"} <= set(case.inputs):
        raise NoHandler(f"{case.case} is no modulated deformable convolution: it lacks weight, input, offset or mask")
    weight, hyper = case.params["weight"], case.hyper
    layout = str(hyper.get("offset_layout", LAYOUT))
    if LAYOUT not in "".join(layout.lower().split()):
        raise NoHandler(f"offsets in the order {layout!r}, and known is one: channel 2t = dy, 2t+1 = dx")
    groups = int(hyper.get("groups", 1))
    layer = ModulatedDeformConv2d(
        weight.shape[1] * groups,
        len(weight),
        _sides(hyper.get("kernel", tuple(weight.shape[2:]))),
        _sides(hyper.get("stride", 1)),
        _sides(hyper.get("padding", 0)),
        _sides(hyper.get("dilation", 1)),
        groups,
        int(hyper.get("deform_groups", 1)),
        bias="bias" in case.params,
    )
    layer.load_state_dict(dict(case.params))
    y = layer(case.inputs["input"], case.inputs["offset"], case.inputs["mask"])
    return dict.fromkeys(case.expected, y)


def _sides(value: Any) -> tuple[int, int]:
    """Height and width out of one number or two."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))
