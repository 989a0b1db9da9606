"""Configurations of the modulated deformable convolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from helpers.op_case import Array, OpCase
from lineside.export.ops.mod_deform_conv2d import ModDeformConv2d
from oracle.op_mod_deform_conv2d import mod_deform_conv2d


def _inputs(
    op: ModDeformConv2d, size: tuple[int, int], batch: int = 1, bias: bool = True
) -> Callable[[np.random.Generator], Sequence[Array]]:
    """Random inputs; offsets reach well beyond the picture's border."""

    def make(rng: np.random.Generator) -> list[Array]:
        c, o = 4, 6 if op.groups == 1 else 2 * op.groups
        x = rng.standard_normal((batch, c, *size))
        weight = rng.standard_normal((o, c // op.groups, *op.kernel))
        _, _, oh, ow = op.shapes(x.shape, (), (), weight.shape)[0]
        offset = rng.standard_normal((batch, 2 * op.deform_groups * op.taps, oh, ow)) * 3
        mask = rng.random((batch, op.deform_groups * op.taps, oh, ow))
        arrays = [x, offset, mask, weight, *([rng.standard_normal(o)] if bias else [])]
        return [array.astype(np.float32) for array in arrays]

    return make


def _case(size: tuple[int, int], batch: int = 1, bias: bool = True, label: str = "", **configuration: Any) -> OpCase:
    op = ModDeformConv2d(**configuration)
    return OpCase(op, _inputs(op, size, batch, bias), mod_deform_conv2d, tolerance=3e-5, label=label)


CASES = [
    _case((7, 9)),
    _case((7, 9), bias=False, label="no bias"),
    _case((1, 5), label="one row"),
    _case((8, 6), batch=2, stride=(2, 2)),
    _case((9, 7), kernel=(1, 1), padding=(0, 0)),
    _case((9, 7), kernel=(5, 5), padding=(4, 4), dilation=(2, 2)),
    _case((6, 7), batch=2, groups=2, deform_groups=2, bias=False),
    _case((6, 7), groups=4, deform_groups=1, stride=(2, 1), padding=(0, 2), kernel=(3, 2), dilation=(1, 3)),
    _case((6, 5), deform_groups=4, padding=(0, 0)),
]
