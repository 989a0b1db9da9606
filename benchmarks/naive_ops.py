"""Our operators as one would write them first: what the bodies of `lineside.export.ops` are timed against."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def mod_deform_conv2d(op: Any, x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Gathers the four corners of each sample and weighs them; one group of each kind."""
    (n, c, h, w), (oh, ow), (kh, kw) = x.shape, offset.shape[2:], op.kernel
    taps = kh * kw
    rows = torch.arange(oh).float() * op.stride[0] - op.padding[0]
    columns = torch.arange(ow).float() * op.stride[1] - op.padding[1]
    ky = torch.arange(kh).float().repeat_interleave(kw) * op.dilation[0]
    kx = torch.arange(kw).float().repeat(kh) * op.dilation[1]
    delta = offset.reshape(n, taps, 2, oh, ow)
    y = delta[:, :, 0] + ky.view(1, -1, 1, 1) + rows.view(1, 1, -1, 1)
    z = delta[:, :, 1] + kx.view(1, -1, 1, 1) + columns.view(1, 1, 1, -1)
    top, left = y.floor(), z.floor()
    samples = 0
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        share = (1 - (y - row).abs()) * (1 - (z - column).abs())
        inside = (row >= 0) & (row <= h - 1) & (column >= 0) & (column <= w - 1)
        place = (row.clamp(0, h - 1) * w + column.clamp(0, w - 1)).long().reshape(n, 1, -1).expand(-1, c, -1)
        values = x.reshape(n, c, h * w).gather(2, place)
        samples = samples + values * (share * inside * mask).reshape(n, 1, -1)
    flat = samples.reshape(n, c * taps, oh * ow)  # type: ignore[attr-defined]
    return (weight.reshape(len(weight), -1) @ flat + bias.view(1, -1, 1)).reshape(n, -1, oh, ow)


def carafe(op: Any, x: Tensor, mask: Tensor) -> Tensor:
    """Unfolds all neighbourhoods, enlarges them, and adds them up with their weights."""
    n, c, h, w = x.shape
    around = functional.unfold(x, op.kernel, padding=op.kernel // 2).reshape(n, -1, h, w)
    around = functional.interpolate(around, scale_factor=op.up, mode="nearest")
    return (around.reshape(n, c, -1, h * op.up, w * op.up) * mask.unsqueeze(1)).sum(2)


def ms_deform_attn(op: Any, value: Tensor, places: Tensor, weights: Tensor, *, sizes: Any) -> Tensor:
    """The formula as it stands: gathers the four corners of each point in each level and weighs them.

    Written with grid_sample, one call for each level, it would be what the body is, and as fast.
    """
    n, _, m, d = value.shape
    total = value.new_zeros(n, places.shape[1], m, d)
    for level, (one, (h, w)) in enumerate(zip(value.split([h * w for h, w in sizes], 1), sizes, strict=True)):
        x, y = places[:, :, :, level, :, 0] * w - 0.5, places[:, :, :, level, :, 1] * h - 0.5
        left, top = x.floor(), y.floor()
        for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            share = (1 - (y - row).abs()) * (1 - (x - column).abs()) * weights[:, :, :, level]
            inside = (row >= 0) & (row <= h - 1) & (column >= 0) & (column <= w - 1)
            pixel = (row.clamp(0, h - 1) * w + column.clamp(0, w - 1)).long()  # (n, q, m, points)
            index = pixel.permute(0, 1, 3, 2).flatten(1, 2).unsqueeze(-1).expand(-1, -1, -1, d)
            found = one.gather(1, index).view(n, pixel.shape[1], -1, m, d)
            total = total + (found * (share * inside).permute(0, 1, 3, 2).unsqueeze(-1)).sum(2)
    return total


def selective_scan(op: Any, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """One step after the other, each a handful of nodes; one group."""
    dt = functional.softplus(delta)
    factor = torch.exp(dt.unsqueeze(-1) * a[:, None])
    added = (dt * u).unsqueeze(-1) * b[:, 0].transpose(1, 2).unsqueeze(1)
    state, ys = torch.zeros_like(added[:, :, 0]), []
    for step in range(u.shape[2]):
        state = factor[:, :, step] * state + added[:, :, step]
        ys.append((state * c[:, 0, None, :, step]).sum(-1))
    return torch.stack(ys, 2)
