"""Configurations of the multi-scale deformable attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from helpers.op_case import Array, OpCase
from lineside.export.ops.ms_deform_attn import MSDeformAttn
from oracle.op_ms_deform_attn import attention_op

Sizes = tuple[tuple[int, int], ...]


def _inputs(
    sizes: Sizes, batch: int, queries: int, heads: int, width: int, points: int
) -> Callable[..., Sequence[Array]]:
    """Random inputs; a third of the locations lie outside."""

    def make(rng: np.random.Generator) -> list[Array]:
        pixels = [h * w for h, w in sizes]
        value = rng.standard_normal((batch, sum(pixels), heads, width)).astype(np.float32)
        places = rng.uniform(-0.2, 1.2, (batch, queries, heads, len(sizes), points, 2)).astype(np.float32)
        weights = rng.standard_normal(places.shape[:-1]).astype(np.float32)
        starts = np.cumsum([0, *pixels[:-1]])
        return [value, np.array(sizes, np.int32), starts.astype(np.int32), places, weights]

    return make


def _case(
    sizes: Sizes, batch: int = 1, queries: int = 5, heads: int = 2, width: int = 3, points: int = 2, label: str = ""
) -> OpCase:
    inputs = _inputs(sizes, batch, queries, heads, width, points)
    return OpCase(MSDeformAttn(len(sizes)), inputs, attention_op, tolerance=3e-5, label=label)


CASES = [
    _case(((6, 5), (3, 4), (2, 2)), batch=2),
    _case(((4, 7),), points=4, label="one map"),
    _case(((1, 5), (3, 1)), heads=1, width=8, points=1, label="lines"),
    _case(((4, 4), (2, 2), (1, 1), (5, 3)), heads=4, queries=1, width=1),
]
