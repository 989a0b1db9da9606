"""RMT in plain numpy and float64, cell by cell; nothing here knows torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oracle.convolution import Array, State, batch_norm, conv, gelu, layer_norm


def rates(heads: int, initial: float, reach: float) -> Array:
    """Logit per cell of distance of each head."""
    return np.array([math.log(1 - 2 ** -(initial + reach * n / heads)) for n in range(heads)])


def angles(dim: int) -> Array:
    """Radians per cell of each channel of a head: a pair of channels shares one."""
    pairs = dim // 2
    return np.array([10000 ** -((i // 2) / (pairs - 1) if pairs > 1 else 0.0) for i in range(dim)])


def positions(dim: int, heads: int, initial: float, reach: float, height: int, width: int) -> dict[str, Array]:
    """Everything that is known of the positions in a map."""
    decay, angle = rates(heads, initial, reach), angles(dim // heads)
    cells = [(y, x) for y in range(height) for x in range(width)]
    whole = np.zeros((heads, len(cells), len(cells)))
    for i, (y, x) in enumerate(cells):
        for j, (other_y, other_x) in enumerate(cells):
            whole[:, i, j] = decay * (abs(y - other_y) + abs(x - other_x))
    sides = {
        name: np.array([[[rate * abs(i - j) for j in range(side)] for i in range(side)] for rate in decay])
        for name, side in (("mask_h", height), ("mask_w", width))
    }
    turn = np.array([[(y * width + x) * angle for x in range(width)] for y in range(height)])
    return {
        "decay": decay, "angle": angle, "mask_whole": whole, **sides, "sin": np.sin(turn), "cos": np.cos(turn),
    }  # fmt: skip


def attention(
    x: Array, state: State, kind: str, heads: int, initial: float, reach: float, rotary: bool, prefix: str = ""
) -> Array:
    """Retention of a map (B, H, W, C): ``whole``, or ``chunk`` for rows and then columns."""
    batch, height, width, dim = x.shape
    d = dim // heads
    q, k, v = (_linear(x, state, f"{prefix}{name}_proj") for name in "qkv")
    k = k * d**-0.5
    lepe = _depth_wise(v, state, f"{prefix}lepe")
    q, k, v = (each.reshape(batch, height, width, heads, d) for each in (q, k, v))
    if rotary:
        q, k = _rotated(q), _rotated(k)
    decay = rates(heads, initial, reach)
    cells = [(y, x_) for y in range(height) for x_ in range(width)]
    gathered = np.zeros_like(v)
    if kind == "whole":
        for y, x_ in cells:
            gathered[:, y, x_] = _seen(q[:, y, x_], k, v, (y, x_), cells, decay)
    else:
        along = np.zeros_like(v)
        for y, x_ in cells:
            along[:, y, x_] = _seen(q[:, y, x_], k, v, (y, x_), [(y, other) for other in range(width)], decay)
        for y, x_ in cells:
            gathered[:, y, x_] = _seen(q[:, y, x_], k, along, (y, x_), [(other, x_) for other in range(height)], decay)
    return _linear(gathered.reshape(x.shape) + lepe, state, f"{prefix}out_proj")


def block(x: Array, state: State, hyper: dict[str, Any], prefix: str = "") -> Array:
    """A whole block on a map (B, H, W, C)."""
    x = x + _depth_wise(x, state, f"{prefix}pos")
    inner = _norm(x, state, f"{prefix}retention_layer_norm", 1e-6)
    inner = attention(
        inner, state, hyper["retention"], hyper["num_heads"], hyper["initial_value"], hyper["heads_range"],
        hyper["rotary"], f"{prefix}retention.",
    )  # fmt: skip
    x = x + inner * state.get(f"{prefix}gamma_1", 1.0)
    inner = _norm(x, state, f"{prefix}final_layer_norm", 1e-6)
    return x + feed_forward(inner, state, f"{prefix}ffn.") * state.get(f"{prefix}gamma_2", 1.0)


def feed_forward(x: Array, state: State, prefix: str = "") -> Array:
    """The feed-forward network of a block."""
    z = gelu(_linear(x, state, f"{prefix}fc1"))
    return _linear(z + _depth_wise(z, state, f"{prefix}dwconv"), state, f"{prefix}fc2")


def merging(x: Array, state: State, prefix: str = "") -> Array:
    """The way down to the next stage, (B, H, W, C)."""
    y = conv(_second(x), state[f"{prefix}reduction.weight"], state[f"{prefix}reduction.bias"], stride=2)
    return _last(batch_norm(y, state, f"{prefix}norm."))


def embedding(x: Array, state: State, prefix: str = "") -> Array:
    """The stem: a picture (B, 3, H, W) to (B, H / 4, W / 4, C)."""
    for place, stride in ((0, 2), (3, 1), (6, 2), (9, 1)):
        if place:
            x = gelu(x)
        x = conv(x, state[f"{prefix}proj.{place}.weight"], state[f"{prefix}proj.{place}.bias"], stride=stride)
        x = batch_norm(x, state, f"{prefix}proj.{place + 1}.")
    return _last(x)


def backbone(x: Array, state: State, hyper: dict[str, Any]) -> dict[str, Array]:
    """The maps of all four stages, (B, C, H, W)."""
    x, maps = embedding(x, state, "patch_embed."), {}
    for stage, depth in enumerate(hyper["depths"]):
        own = {
            "retention": "chunk" if hyper["chunkwise_recurrents"][stage] else "whole",
            "num_heads": hyper["num_heads"][stage],
            "initial_value": hyper["init_values"][stage],
            "heads_range": hyper["heads_ranges"][stage],
            "rotary": hyper["rotary"],
        }
        for number in range(depth):
            x = block(x, state, own, f"layers.{stage}.blocks.{number}.")
        norm = f"extra_norms.{stage}"
        maps[f"p{stage + 2}"] = _second(_norm(x, state, norm, 1e-5) if f"{norm}.weight" in state else x)
        if stage < 3:
            x = merging(x, state, f"layers.{stage}.downsample.")
    return maps


def _seen(q: Array, k: Array, v: Array, at: tuple[int, int], others: list[tuple[int, int]], decay: Array) -> Array:
    """What one cell gathers from others, (B, heads, d)."""
    logits = np.stack(
        [(q * k[:, y, x]).sum(-1) + decay * (abs(y - at[0]) + abs(x - at[1])) for y, x in others], axis=-1
    )
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return sum(weights[..., index, None] * v[:, y, x] for index, (y, x) in enumerate(others))


def _rotated(x: Array) -> Array:
    """Pairs of channels turned by the angle of their place in the map."""
    _, height, width, _, d = x.shape
    angle, y = angles(d), np.empty_like(x)
    for row in range(height):
        for column in range(width):
            for pair in range(0, d, 2):
                turn = (row * width + column) * angle[pair]
                a, b = x[:, row, column, :, pair], x[:, row, column, :, pair + 1]
                y[:, row, column, :, pair] = a * math.cos(turn) - b * math.sin(turn)
                y[:, row, column, :, pair + 1] = b * math.cos(turn) + a * math.sin(turn)
    return y


def _linear(x: Array, state: State, name: str) -> Array:
    return x @ state[f"{name}.weight"].astype(float).T + state[f"{name}.bias"]


def _depth_wise(x: Array, state: State, name: str) -> Array:
    return _last(conv(_second(x), state[f"{name}.conv.weight"], state[f"{name}.conv.bias"]))


def _norm(x: Array, state: State, name: str, eps: float) -> Array:
    return _last(layer_norm(_second(x), state[f"{name}.weight"], state[f"{name}.bias"], eps))


def _second(x: Array) -> Array:
    return np.moveaxis(x, -1, 1)


def _last(x: Array) -> Array:
    return np.moveaxis(x, 1, -1)
