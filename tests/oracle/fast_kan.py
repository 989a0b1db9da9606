"""FastKAN in plain numpy and float64, tap by tap; nothing here knows torch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from oracle.convolution import Array, State


def bumps(x: Array, first: float, last: float, count: int, width: float | None = None) -> Array:
    """Gaussian bumps around an even grid, in a new last axis."""
    points = [first + (last - first) * index / (count - 1) for index in range(count)] if count > 1 else [first]
    width = width or (last - first) / (count - 1)
    return np.stack([np.exp(-(((x - point) / width) ** 2)) for point in points], axis=-1)


def conv(x: Array, weight: Array, padding: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Array:
    """A convolution of any number of sides, without groups and bias: x (B, C, ...), weight (O, C, ...)."""
    sides = weight.shape[2:]
    padded = np.pad(x, [(0, 0), (0, 0), *[(pad, pad) for pad in padding]])
    shape = [
        (length - step * (side - 1) - 1) // jump + 1
        for length, side, jump, step in zip(padded.shape[2:], sides, stride, dilation, strict=True)
    ]
    y = np.zeros((len(x), len(weight), *shape))
    for place in itertools.product(*map(range, shape)):
        for tap in itertools.product(*map(range, sides)):
            at = tuple(p * jump + t * step for p, jump, t, step in zip(place, stride, tap, dilation, strict=True))
            y[(slice(None), slice(None), *place)] += padded[(slice(None), slice(None), *at)] @ weight[(..., *tap)].T
    return y


def layer(
    x: Array,
    state: State,
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    grid: tuple[float, float, int],
) -> Array:
    """A FastKAN convolution; a BatchNorm where the state has its statistics, else an InstanceNorm."""
    results = []
    for group, part in enumerate(np.split(x, groups, axis=1)):
        axes = tuple(range(2, x.ndim))
        if f"layer_norm.{group}.running_mean" in state:
            column = (1, -1) + (1,) * len(axes)
            mean, variance, weight, bias = (
                state[f"layer_norm.{group}.{name}"].astype(float).reshape(column)
                for name in ("running_mean", "running_var", "weight", "bias")
            )
            normed = (part - mean) / np.sqrt(variance + 1e-5) * weight + bias
        else:
            normed = (part - part.mean(axes, keepdims=True)) / np.sqrt(part.var(axes, keepdims=True) + 1e-5)
        found = bumps(normed, *grid)  # (B, C, ..., G)
        mixed = np.moveaxis(found, -1, 2).reshape(len(x), -1, *x.shape[2:])  # channel * G + point
        plain = part / (1 + np.exp(-part))
        shape = (padding, stride, dilation)
        results.append(
            conv(plain, state[f"base_conv.{group}.weight"].astype(float), *shape)
            + conv(mixed, state[f"spline_conv.{group}.weight"].astype(float), *shape)
        )
    return np.concatenate(results, axis=1)
