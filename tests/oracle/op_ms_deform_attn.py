"""Multi-scale deformable attention in plain loops and float64."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def bilinear(maps: Array, y: float, x: float) -> Array:
    """Channels of (C, H, W) at a fractional place; zero outside."""
    top, left = int(np.floor(y)), int(np.floor(x))
    total = np.zeros(len(maps))
    for row, column in product((top, top + 1), (left, left + 1)):
        if 0 <= row < maps.shape[1] and 0 <= column < maps.shape[2]:
            total += maps[:, row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def sampled(value: Array, shapes: Sequence[Sequence[int]], locations: Array, weights: Array) -> Array:
    """(N, Lq, M, D) out of value (N, S, M, D), locations (N, Lq, M, L, P, 2) and weights (N, Lq, M, L, P)."""
    n, queries, heads, _, points = weights.shape
    found = np.zeros((n, queries, heads, value.shape[3]))
    start = 0
    for level, (h, w) in enumerate(shapes):
        pixels = value[:, start : start + h * w].astype(np.float64)
        start += h * w
        for b, q, m, p in product(range(n), range(queries), range(heads), range(points)):
            x, y = (float(number) for number in locations[b, q, m, level, p])
            plane = pixels[b, :, m].T.reshape(-1, h, w)
            found[b, q, m] += weights[b, q, m, level, p] * bilinear(plane, y * h - 0.5, x * w - 0.5)
    return found


def attention_op(op: Any, value: Array, shapes: Array, starts: Array, locations: Array, weights: Array) -> list[Array]:
    """What the operator gives, for levels that lie behind each other."""
    assert [int(start) for start in starts] == [int(np.prod(shapes[:level], -1).sum()) for level in range(len(shapes))]
    return [sampled(value, shapes.tolist(), locations, weights).astype(np.float32)]


def linear(x: Array, state: Any, name: str) -> Array:
    """A linear layer."""
    return x.astype(np.float64) @ state[f"{name}.weight"].T.astype(np.float64) + state[f"{name}.bias"]


def attention(
    state: Any,
    query: Array,
    reference: Array,
    pixels: Array,
    shapes: Sequence[Sequence[int]],
    heads: int,
    points: int,
    padding: Array | None = None,
) -> Array:
    """The whole module with the parameters of that name, (N, Lq, d_model)."""
    n, queries, width = query.shape
    levels = len(shapes)
    value = linear(pixels, state, "value_proj")
    if padding is not None:
        value = value * (1 - padding.astype(np.float64))[..., None]
    offsets = linear(query, state, "sampling_offsets").reshape(n, queries, heads, levels, points, 2)
    scores = np.exp(linear(query, state, "attention_weights").reshape(n, queries, heads, levels * points))
    weights = (scores / scores.sum(-1, keepdims=True)).reshape(n, queries, heads, levels, points)
    locations = np.zeros(offsets.shape)
    for level, (h, w) in enumerate(shapes):
        at = reference[:, :, level, None, None].astype(np.float64)
        if reference.shape[-1] == 2:
            locations[:, :, :, level] = at + offsets[:, :, :, level] / np.array([w, h])
        else:
            locations[:, :, :, level] = at[..., :2] + offsets[:, :, :, level] / points * at[..., 2:] / 2
    seen = sampled(value.reshape(n, -1, heads, width // heads), shapes, locations, weights)
    return linear(seen.reshape(n, queries, width), state, "output_proj")
