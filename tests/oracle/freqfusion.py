"""FreqFusion step by step, as its specification has it, in plain numpy and float64."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from oracle.convolution import Array, State, conv, sigmoid
from oracle.op_carafe import mirrored


def reassembled(x: Array, mask: Array, kernel: int, up: int, border: str) -> Array:
    """Tap by tap; the window of a pixel lies around its place in x."""
    h, w = x.shape[2:]
    found = np.zeros((*x.shape[:2], h * up, w * up))
    for i, j in product(range(h * up), range(w * up)):
        for row, column in product(range(kernel), repeat=2):
            y, z = i // up + row - kernel // 2, j // up + column - kernel // 2
            if border == "reflect":
                y, z = mirrored(y, h), mirrored(z, w)
            if 0 <= y < h and 0 <= z < w:
                found[:, :, i, j] += x[:, :, y, z] * mask[:, None, row * kernel + column, i, j]
    return found


def window(rows: int, columns: int) -> Array:
    """Two Hamming windows."""
    return np.outer(np.hamming(rows), np.hamming(columns))


def normalised(mask: Array, weights: Array) -> Array:
    """Softmax over the taps, times the window, over the sum."""
    positive = np.exp(mask - mask.max(1, keepdims=True))
    kernels = positive / positive.sum(1, keepdims=True) * weights.reshape(1, -1, 1, 1)
    return kernels / kernels.sum(1, keepdims=True)


def doubled(x: Array) -> Array:
    """Every pixel four times."""
    return x.repeat(2, 2).repeat(2, 3)


def similarity(x: Array, k: int, dilation: int) -> Array:
    """Cosines with the neighbours, (N, k * k - 1, H, W)."""
    n, _, h, w = x.shape
    found = np.zeros((n, k * k - 1, h, w))
    steps = [(i, j) for i, j in product(range(k), repeat=2) if (i, j) != (k // 2, k // 2)]
    for index, (i, j) in enumerate(steps):
        for b, y, z in product(range(n), range(h), range(w)):
            row, column = y + (i - k // 2) * dilation, z + (j - k // 2) * dilation
            if 0 <= row < h and 0 <= column < w:
                one, other = x[b, :, y, z], x[b, :, row, column]
                found[b, index, y, z] = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    return found


def group_norm(x: Array, groups: int, weight: Array, bias: Array) -> Array:
    """A GroupNorm, eps 1e-5."""
    parts = x.reshape(len(x), groups, -1)
    parts = (parts - parts.mean(-1, keepdims=True)) / np.sqrt(parts.var(-1, keepdims=True) + 1e-5)
    return parts.reshape(x.shape) * weight.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1)


def unshuffled(x: Array) -> Array:
    """2x2 pixels to channels."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


def resampled(hr: Array, lr: Array, features: Array, state: State, groups: int, norm: bool) -> Array:
    """The resampler, one value after the other; state without its prefix."""
    if norm:
        count = hr.shape[1] // 8
        hr = group_norm(hr, count, state["norm_hr.weight"], state["norm_hr.bias"])
        lr = group_norm(lr, count, state["norm_lr.weight"], state["norm_lr.bias"])
    hr, lr = (np.concatenate([x, similarity(x, 3, 2)], 1) for x in (hr, lr))

    def of(name: str, x: Array) -> Array:
        return conv(x, state[f"{name}.weight"], state[f"{name}.bias"])

    moves = of("offset", lr) + unshuffled(of("hr_offset", hr))
    moves = moves * sigmoid(of("direct_scale", lr) + unshuffled(of("hr_direct_scale", hr)))
    n, _, h, w = lr.shape
    _, channels, high, wide = features.shape
    found = np.zeros((n, channels, 2 * h, 2 * w))
    for b, c, i, j in product(*map(range, found.shape)):
        phase, group = 2 * (i % 2) + j % 2, c // (channels // groups)
        x = j // 2 + 0.25 + 0.5 * (j % 2) + moves[b, group * 4 + phase, i // 2, j // 2]
        y = i // 2 + 0.25 + 0.5 * (i % 2) + moves[b, groups * 4 + group * 4 + phase, i // 2, j // 2]
        found[b, c, i, j] = clamped(features[b, c], y / h * high - 0.5, x / w * wide - 0.5)
    return found


def clamped(plane: Array, y: float, x: float) -> float:
    """A picture at a fractional place; beyond the border are the values of the border."""
    y, x = min(max(y, 0), plane.shape[0] - 1), min(max(x, 0), plane.shape[1] - 1)
    top, left = int(y), int(x)
    total = 0.0
    for row, column in product((top, top + 1), (left, left + 1)):
        share = max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(x - column))
        if share:
            total += share * plane[row, column]
    return total


def fused(hr: Array, lr: Array, state: State, hyper: Mapping[str, Any]) -> dict[str, Array]:
    """The three outputs for hyper-parameters as a manifest has them."""
    low, high = hyper.get("lowpass_kernel", 5), hyper.get("highpass_kernel", 3)
    border, plain = hyper.get("carafe_border", "zero"), not hyper.get("hamming_window", True)
    use_high = hyper.get("use_high_pass", True)
    windows = {k: np.ones((k, k)) if plain else window(k, k) for k in (low, high)}
    hr, lr = hr.astype(np.float64), lr.astype(np.float64)

    def of(name: str, x: Array) -> Array:
        return conv(x, state[f"{name}.weight"], state[f"{name}.bias"])

    fine, coarse = of("hr_channel_compressor", hr), of("lr_channel_compressor", lr)
    if not hyper.get("semi_conv", True):
        joined = fine + doubled(coarse)
        ml, mh = of("content_encoder", joined), of("content_encoder2", joined) if use_high else None
    elif not hyper.get("comp_feat_upsample", True):
        ml = of("content_encoder", fine) + doubled(of("content_encoder", coarse))
        mh = of("content_encoder2", fine) + doubled(of("content_encoder2", coarse)) if use_high else None
    else:
        mh = None
        if use_high:
            mh = of("content_encoder2", fine)
            fine = 2 * fine - reassembled(fine, normalised(mh, windows[high]), high, 1, border)
        ml = of("content_encoder", fine)
        first = normalised(ml, windows[low])
        ml = ml + reassembled(of("content_encoder", coarse), first, low, 2, border)
        if mh is not None:
            kernels = normalised(ml, windows[low])
            mh = mh + reassembled(of("content_encoder2", coarse), kernels, low, 2, border)
    mask = normalised(ml, windows[low])
    if hyper.get("semi_conv", True):
        lr_out = reassembled(lr, mask, low, 2, border)
    else:
        lr_out = reassembled(doubled(lr), mask, low, 1, border)
    hr_out = hr
    if mh is not None:
        hr_out = hr - reassembled(hr, normalised(mh, windows[high]), high, 1, border)
        hr_out = hr_out + hr if hyper.get("hr_residual", True) else hr_out
    if hyper.get("feature_resample", False):
        inner = {name.removeprefix("dysampler."): array for name, array in state.items()}
        groups, norm = hyper.get("feature_resample_group", 4), hyper.get("feature_resample_norm", True)
        lr_out = resampled(fine, coarse, lr_out, inner, groups, norm)
    return {"mask_lr": mask, "hr": hr_out, "lr": lr_out}
