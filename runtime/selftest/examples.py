"""Inputs for operators of ours by themselves: small, seeded, with sides that fill no block of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lineside.runtime.ops.op import DeviceOp

__all__ = ["EXAMPLES", "example"]

Array = npt.NDArray[Any]


def example(op: DeviceOp, seed: int = 0) -> list[Array] | None:
    """Inputs in the order of the operator, float32 and int32; None where none are known for it.

    Args:
        op: The operator.
        seed: Of the numbers.
    """
    make = EXAMPLES.get(op.base)
    return None if make is None else make(op, np.random.default_rng(seed))


def _carafe(op: Any, rng: np.random.Generator) -> list[Array]:
    c, h, w = 6 * op.groups, 13, 11
    x = rng.standard_normal((1, c, h, w), np.float32)
    mask = rng.random((1, op.groups * op.kernel**2, op.up * h, op.up * w), np.float32)
    mask /= mask.reshape(1, op.groups, op.kernel**2, *mask.shape[2:]).sum(2).repeat(op.kernel**2, 1)
    return [x, mask]


def _attention(op: Any, rng: np.random.Generator) -> list[Array]:
    sides = np.array([(17 - 4 * (level % 4), 13 - 3 * (level % 4)) for level in range(op.levels)], np.int32)
    areas = sides.prod(1)
    starts = np.concatenate([[0], np.cumsum(areas)[:-1]]).astype(np.int32)
    heads, width, queries, points = 4, 8, 37, 4
    value = rng.standard_normal((1, int(areas.sum()), heads, width), np.float32)
    places = rng.uniform(-0.1, 1.1, (1, queries, heads, op.levels, points, 2)).astype(np.float32)
    weights = rng.random((1, queries, heads, op.levels, points), np.float32)
    weights /= weights.sum((3, 4), keepdims=True)
    return [value, sides, starts, places, weights]


def _scan(op: Any, rng: np.random.Generator) -> list[Array]:
    channels, groups, steps, n = 12, 2, 45, op.states
    normal = rng.standard_normal
    made: dict[str, Array] = {
        "u": normal((1, channels, steps), np.float32),
        "delta": normal((1, channels, steps), np.float32)
        if op.softplus
        else rng.random((1, channels, steps), np.float32),
        "A": -np.exp(normal((channels, n), np.float32) * 0.5),
        "B": normal((1, groups, n, steps), np.float32),
        "C": normal((1, groups, n, steps), np.float32),
        "delta_bias": normal(channels, np.float32),
        "D": normal(channels, np.float32),
        "z": normal((1, channels, steps), np.float32),
    }
    return [made[name] for name in op.inputs]


EXAMPLES: dict[str, Callable[[Any, np.random.Generator], list[Array]]] = {
    "Carafe": _carafe,
    "MSDeformAttn": _attention,
    "SelectiveScan": _scan,
}
"""What makes inputs, by the name of an operator without its configuration."""
