"""Modulated deformable convolution in plain loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def bilinear(plane: Array, y: float, x: float) -> float:
    """A picture at a fractional place; what lies outside of it is zero."""
    top, left = int(np.floor(y)), int(np.floor(x))
    total = 0.0
    for row, column in product((top, top + 1), (left, left + 1)):
        if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
            total += float(plane[row, column]) * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def mod_deform_conv2d(
    op: Any, x: Array, offset: Array, mask: Array, weight: Array, bias: Array | None = None
) -> list[Array]:
    """The sum over taps and channels, one output value after the other."""
    (n, c), (oh, ow), (kh, kw) = x.shape[:2], offset.shape[2:], op.kernel
    o, per_group = weight.shape[:2]
    samples = np.zeros((n, c, kh * kw, oh, ow))
    for b, channel, ky, kx, i, j in product(*map(range, (n, c, kh, kw, oh, ow))):
        tap = ky * kw + kx
        first = (channel // (c // op.deform_groups)) * kh * kw + tap
        y = i * op.stride[0] - op.padding[0] + ky * op.dilation[0] + float(offset[b, 2 * first, i, j])
        z = j * op.stride[1] - op.padding[1] + kx * op.dilation[1] + float(offset[b, 2 * first + 1, i, j])
        samples[b, channel, tap, i, j] = bilinear(x[b, channel], y, z) * mask[b, first, i, j]
    found = np.zeros((n, o, oh, ow))
    for b, k in product(range(n), range(o)):
        start = k // (o // op.groups) * per_group
        for channel in range(per_group):
            kernel = weight[k, channel].reshape(-1, 1, 1).astype(np.float64)
            found[b, k] += (kernel * samples[b, start + channel]).sum(0)
        found[b, k] += 0 if bias is None else bias[k]
    return [found.astype(np.float32)]
