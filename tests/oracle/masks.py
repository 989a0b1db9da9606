"""The mask rule of the runtime, one pixel at a time as it is written, in float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.decode import placement

Array = npt.NDArray[Any]
F32 = np.float32


def logits_of(protos: Array, coefficients: Array) -> Array:
    """The sum of coefficient times prototype, float32, coefficient by coefficient."""
    total = np.zeros(protos.shape[1:], F32)
    for c, plane in zip(coefficients, protos, strict=True):
        total = total + c * plane
    return total


def axis(pixels: Array, scale: float, pad: int, content: int, side: int, cells: int, half: float) -> Array:
    """Prototype coordinate of pixels along one axis, held inside the cells that the content covers."""
    low, high = math.floor(pad * cells / side), math.ceil((pad + content) * cells / side)
    return np.clip(((pixels + 0.5) * scale + pad) * (cells / side) - half, low, high - 1)


def mask_of(
    protos: Array,
    coefficients: Array,
    box: Array,
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    mode: str = "native",
) -> tuple[int, int, Array]:
    """The mask inside its box: x0, y0 and a bool table; `box` is in picture pixels and clipped."""
    sx, sy, left, top, nh, nw = placement(image_size, input_size)
    columns = np.array([x for x in range(image_size[1]) if box[0] <= x < box[2]], int)
    rows = np.array([y for y in range(image_size[0]) if box[1] <= y < box[3]], int)
    if not len(columns) or not len(rows):
        return 0, 0, np.zeros((0, 0), bool)
    table = logits_of(protos, coefficients)
    ph, pw = table.shape
    half = 0.5 if mode == "native" else 0.0
    u = axis(columns, sx, left, nw, input_size[1], pw, half)
    v = axis(rows, sy, top, nh, input_size[0], ph, half)
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    if mode == "proto":
        return int(columns[0]), int(rows[0]), table[np.ix_(j, i)] > 0
    last_u, last_v = math.ceil((left + nw) * pw / input_size[1]) - 1, math.ceil((top + nh) * ph / input_size[0]) - 1
    i2, j2 = np.minimum(i + 1, last_u), np.minimum(j + 1, last_v)
    b, d = (u - i).astype(F32), (v - j).astype(F32)
    a, c = F32(1) - b, F32(1) - d
    west = table[np.ix_(j, i)] * c[:, None] + table[np.ix_(j2, i)] * d[:, None]
    east = table[np.ix_(j, i2)] * c[:, None] + table[np.ix_(j2, i2)] * d[:, None]
    return int(columns[0]), int(rows[0]), west * a + east * b > 0
