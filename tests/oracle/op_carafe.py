"""Content-aware reassembly in plain loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def mirrored(place: int, side: int) -> int:
    """Where a mirror at the middle of the outermost pixels shows a place outside."""
    place = abs(place)
    return 2 * (side - 1) - place if place >= side else place


def reassembled(x: Array, mask: Array, kernel: int, up: int, groups: int = 1, border: str = "zero") -> Array:
    """Every value of the result by itself, in float64."""
    n, c, h, w = x.shape
    found = np.zeros((n, c, h * up, w * up))
    for b, channel, i, j in product(*map(range, found.shape)):
        group = channel * groups // c
        for tap in range(kernel * kernel):
            row, column = i // up + tap // kernel - kernel // 2, j // up + tap % kernel - kernel // 2
            inside = 0 <= row < h and 0 <= column < w
            if border == "reflect":
                row, column, inside = mirrored(row, h), mirrored(column, w), True
            if inside:
                found[b, channel, i, j] += float(x[b, channel, row, column]) * mask[b, group * kernel**2 + tap, i, j]
    return found


def carafe_op(op: Any, x: Array, mask: Array) -> list[Array]:
    """What the operator gives."""
    return [reassembled(x, mask, op.kernel, op.up, op.groups, op.border).astype(np.float32)]
