"""Configurations of the content-aware reassembly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from helpers.op_case import Array, OpCase
from lineside.export.ops.carafe import Carafe
from oracle.op_carafe import carafe_op


def _inputs(op: Carafe, size: tuple[int, int], batch: int, channels: int) -> Callable[..., Sequence[Array]]:
    """Random inputs; masks of any sign and sum."""

    def make(rng: np.random.Generator) -> list[Array]:
        h, w = size
        x = rng.standard_normal((batch, channels, h, w))
        mask = rng.standard_normal((batch, op.groups * op.kernel**2, h * op.up, w * op.up))
        return [x.astype(np.float32), mask.astype(np.float32)]

    return make


def _case(size: tuple[int, int], batch: int = 1, channels: int = 3, label: str = "", **configuration: Any) -> OpCase:
    op = Carafe(**configuration)
    return OpCase(op, _inputs(op, size, batch, channels), carafe_op, tolerance=1e-5, label=label)


CASES = [
    _case((4, 5)),
    _case((5, 3), kernel=3, up=1, batch=2),
    _case((1, 4), label="one row"),
    _case((6, 4), border="reflect"),
    _case((3, 4), kernel=3, up=3, groups=2, channels=6, batch=2),
    _case((4, 3), kernel=5, up=1, groups=4, channels=4, border="reflect"),
    _case((3, 2), kernel=1, up=2),
    _case((3, 5), kernel=4, up=2, label="no middle"),
    _case((8, 9), kernel=7, up=1),
]
