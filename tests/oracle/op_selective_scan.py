"""The selective scan, the reading of maps and SS2D in plain loops and float64."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def recurrence(a: Array, b: Array) -> Array:
    """All states of ``h = a h + b`` along the first axis."""
    state, states = np.zeros(b.shape[1:]), []
    for factor, value in zip(a, b, strict=True):
        state = factor * state + value
        states.append(state)
    return np.array(states)


def at(values: Array, batch: int, channel: int, channels: int, step: int) -> Array:
    """The N entries of B or C that a channel sees at a step."""
    if values.ndim == 2:
        return values[channel]
    if values.ndim == 3:
        return values[batch, :, step]
    return values[batch, channel * values.shape[1] // channels, :, step]


def selective_scan(
    u: Array,
    delta: Array,
    a: Array,
    b: Array,
    c: Array,
    d: Array | None = None,
    z: Array | None = None,
    delta_bias: Array | None = None,
    delta_softplus: bool = False,
) -> tuple[Array, Array]:
    """y (B, D, L) and the last state (B, D, N), channel by channel."""
    u, delta, a, b, c = (value.astype(np.float64) for value in (u, delta, a, b, c))
    batches, channels, steps = u.shape
    y, last = np.zeros(u.shape), np.zeros((batches, channels, a.shape[1]))
    for n, k in product(range(batches), range(channels)):
        h = np.zeros(a.shape[1])
        for t in range(steps):
            dt = delta[n, k, t] + (0.0 if delta_bias is None else float(delta_bias[k]))
            dt = float(np.logaddexp(0, dt)) if delta_softplus else dt
            h = np.exp(dt * a[k]) * h + dt * at(b, n, k, channels, t) * u[n, k, t]
            y[n, k, t] = h @ at(c, n, k, channels, t) + (0.0 if d is None else float(d[k]) * u[n, k, t])
            y[n, k, t] *= 1.0 if z is None else silu(z[n, k, t].astype(np.float64))
        last[n, k] = h
    return y, last


def scan_op(op: Any, *inputs: Array) -> list[Array]:
    """What the operator gives."""
    given = dict(zip(op.inputs, inputs, strict=True))
    main = [given[name] for name in ("u", "delta", "A", "B", "C")]
    y, last = selective_scan(*main, given.get("D"), given.get("z"), given.get("delta_bias"), op.softplus)
    return [value.astype(np.float32) for value in (y, last)[: len(op.outputs)]]


def places(height: int, width: int, scans: int) -> list[list[tuple[int, int]]]:
    """In what order each of the four sequences visits (row, column) of a map."""
    rows = list(product(range(height), range(width)))
    columns = [(i, j) for j, i in product(range(width), range(height))]
    if scans == 0:
        return [rows, columns, rows[::-1], columns[::-1]]
    if scans == 1:
        return [rows] * 4
    if scans == 2:
        return [rows, rows, rows[::-1], rows[::-1]]
    # A map turned anticlockwise shows its right column first, read from the top.
    right = [(i, j) for j, i in product(reversed(range(width)), range(height))]
    return [rows, right, rows[::-1], right[::-1]]


def cross_scan(x: Array, scans: int = 0) -> Array:
    """(B, C, H, W) to (B, 4, C, H * W)."""
    orders = places(*x.shape[2:], scans)
    return np.array([[[[channel[place] for place in order] for channel in one] for order in orders] for one in x])


def cross_merge(y: Array, height: int, width: int, scans: int = 0) -> Array:
    """(B, 4, C, H * W) to (B, C, H * W)."""
    found = np.zeros((y.shape[0], y.shape[2], height, width))
    for k, order in enumerate(places(height, width, scans)):
        for step, (i, j) in enumerate(order):
            found[:, :, i, j] += y[:, k, :, step]
    return found.reshape(*found.shape[:2], -1)


def ss2d(x: Array, p: Mapping[str, Array], scans: int = 0) -> Array:
    """(B, H, W, C) to the same shape, with the parameters of that name."""
    p = {name: value.astype(np.float64) for name, value in p.items()}
    batches, height, width, _ = x.shape
    both = x.astype(np.float64) @ p["in_proj.weight"].T
    inner = both.shape[-1] // 2
    maps = silu(depthwise(both[..., :inner].transpose(0, 3, 1, 2), p["conv2d.weight"], p["conv2d.bias"]))
    sequences = cross_scan(maps, scans)
    rank, states = p["dt_projs_weight"].shape[2], p["A_logs"].shape[1]
    y = np.zeros(sequences.shape)
    for k in range(4):
        mixed = np.einsum("cd,bdl->bcl", p["x_proj_weight"][k], sequences[:, k])
        of_k = slice(k * inner, (k + 1) * inner)
        y[:, k], _ = selective_scan(
            sequences[:, k],
            np.einsum("dr,brl->bdl", p["dt_projs_weight"][k], mixed[:, :rank]),
            -np.exp(p["A_logs"][of_k]),
            mixed[:, rank : rank + states],
            mixed[:, rank + states :],
            p["Ds"][of_k],
            None,
            p["dt_projs_bias"][k],
            True,
        )
    merged = cross_merge(y, height, width, scans).transpose(0, 2, 1)
    mean, variance = merged.mean(-1, keepdims=True), merged.var(-1, keepdims=True)
    merged = (merged - mean) / np.sqrt(variance + 1e-5) * p["out_norm.weight"] + p["out_norm.bias"]
    return merged.reshape(batches, height, width, inner) * silu(both[..., inner:]) @ p["out_proj.weight"].T


def depthwise(x: Array, weight: Array, bias: Array) -> Array:
    """A depth-wise convolution that keeps the sides; zero outside."""
    k = weight.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    found = np.zeros(x.shape) + bias.reshape(1, -1, 1, 1)
    for i, j in product(range(k), range(k)):
        found += padded[:, :, i : i + x.shape[2], j : j + x.shape[3]] * weight[:, 0, i, j].reshape(1, -1, 1, 1)
    return found
