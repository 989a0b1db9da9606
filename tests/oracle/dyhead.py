"""Dynamic ReLU and the block of a dynamic head in plain numpy, float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.op_mod_deform_conv2d import mod_deform_conv2d

Array = npt.NDArray[Any]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x: Array) -> Array:
    return np.clip((x + 3) / 6, 0, 1)


def dy_relu(
    x: Array,
    state: Mapping[str, Array],
    pieces: int = 2,
    use_bias: bool = True,
    use_spatial: bool = False,
    lambda_a: float = 1.0,
) -> Array:
    """Dynamic ReLU, one value after the other; ``state`` has the names of the module."""
    y = np.zeros(x.shape)
    for picture in range(len(x)):
        pooled = np.array([plane.mean() for plane in x[picture]])
        hidden = np.maximum(state["fc.0.weight"] @ pooled + state["fc.0.bias"], 0)
        theta = hard_sigmoid(state["fc.2.weight"] @ hidden + state["fc.2.bias"])
        per_piece = 2 if use_bias else 1
        for channel in range(x.shape[1]):
            lines = []
            for piece in range(pieces):
                first = theta[piece * per_piece * x.shape[1] + channel]
                slope = (first - 0.5) * 2 * lambda_a + (piece == 0)
                start = theta[(piece * per_piece + 1) * x.shape[1] + channel] - 0.5 if use_bias else 0.0
                lines.append(slope * x[picture, channel] + start)
            y[picture, channel] = np.max(lines, axis=0)
        if use_spatial:
            logits = np.tensordot(state["spa.0.weight"][0, :, 0, 0], x[picture], 1) + state["spa.0.bias"]
            scale = state["spa.1.weight"] / np.sqrt(state["spa.1.running_var"] + 1e-5)
            logits = (logits - state["spa.1.running_mean"]) * scale + state["spa.1.bias"]
            share = np.exp(logits - logits.max())
            y[picture] *= np.clip(share / share.sum() * share.size, 0, 3) / 3
    return y


def block(levels: Sequence[Array], state: Mapping[str, Array], high_level_offset: str = "crop") -> list[Array]:
    """One block of the head; ``state`` has the names of the module."""
    return [_level(levels, state, index, high_level_offset) for index in range(len(levels))]


def _level(levels: Sequence[Array], state: Mapping[str, Array], index: int, high_level_offset: str) -> Array:
    raw = _plain(levels[index], state["spatial_conv_offset.weight"], state["spatial_conv_offset.bias"])
    offset, mask = raw[:, :18], sigmoid(raw[:, 18:])
    terms = [_term("mid", levels[index], offset, mask, state, 1)]
    if index:
        terms.append(_term("low", levels[index - 1], offset, mask, state, 2))
    if index + 1 < len(levels):
        h, w = levels[index + 1].shape[2:]
        if high_level_offset == "crop":
            few = (offset[:, :, :h, :w], mask[:, :, :h, :w])
        else:
            few = tuple(
                np.stack([one.ravel()[: one.shape[0] * h * w].reshape(-1, h, w) for one in values])
                for values in (offset, mask)
            )
        terms.append(_enlarged(_term("high", levels[index + 1], *few, state, 1), levels[index].shape[2:]))
    weight, bias = state["scale_attn_module.1.weight"][0, :, 0, 0], state["scale_attn_module.1.bias"]
    total = np.zeros(terms[0].shape)
    for term in terms:
        score = hard_sigmoid(np.maximum(term.mean((2, 3)) @ weight + bias, 0))
        total += term * score[:, None, None, None]
    prefix = "task_attn_module."
    task = {name.removeprefix(prefix): values for name, values in state.items() if name.startswith(prefix)}
    return dy_relu(total / len(terms), task)


def _term(which: str, x: Array, offset: Array, mask: Array, state: Mapping[str, Array], stride: int) -> Array:
    """A deformable convolution and the normalisation behind it."""
    name = f"spatial_conv_{which}"
    op = SimpleNamespace(
        kernel=(3, 3), stride=(stride,) * 2, padding=(1, 1), dilation=(1, 1), groups=1, deform_groups=1
    )
    y = mod_deform_conv2d(op, x, offset, mask, state[f"{name}.conv.weight"], state.get(f"{name}.conv.bias"))[0]
    if f"{name}.norm.weight" not in state:
        return y
    n, c = y.shape[:2]
    groups = y.astype(float).reshape(n, 16, -1)
    normed = (groups - groups.mean(2, keepdims=True)) / np.sqrt(groups.var(2, keepdims=True) + 1e-5)
    shape = (1, c, 1, 1)
    return normed.reshape(y.shape) * state[f"{name}.norm.weight"].reshape(shape) + state[f"{name}.norm.bias"].reshape(
        shape
    )


def _plain(x: Array, weight: Array, bias: Array) -> Array:
    """A 3x3 convolution with a border of zeros."""
    padded = np.pad(x.astype(float), ((0, 0), (0, 0), (1, 1), (1, 1)))
    h, w = x.shape[2:]
    y = sum(
        np.einsum("oc,nchw->nohw", weight[:, :, i, j], padded[:, :, i : i + h, j : j + w])
        for i in range(3)
        for j in range(3)
    )
    return np.asarray(y) + bias.reshape(1, -1, 1, 1)


def _enlarged(x: Array, size: tuple[int, ...]) -> Array:
    """Bilinear with the corner pixels on the corners."""
    y = np.zeros((*x.shape[:2], *size))
    for i in range(size[0]):
        for j in range(size[1]):
            v = i * (x.shape[2] - 1) / max(size[0] - 1, 1)
            u = j * (x.shape[3] - 1) / max(size[1] - 1, 1)
            top, left = min(int(v), x.shape[2] - 1), min(int(u), x.shape[3] - 1)
            low, right = min(top + 1, x.shape[2] - 1), min(left + 1, x.shape[3] - 1)
            upper = x[:, :, top, left] * (1 - (u - left)) + x[:, :, top, right] * (u - left)
            lower = x[:, :, low, left] * (1 - (u - left)) + x[:, :, low, right] * (u - left)
            y[:, :, i, j] = upper * (1 - (v - top)) + lower * (v - top)
    return y
