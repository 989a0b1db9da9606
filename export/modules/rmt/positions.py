"""Where the cells of a map stand to each other: the decay masks and the rotation of RMT.

Retention weighs what a cell sees by its Manhattan distance: head n adds ``decay_n * (|dy| + |dx|)`` to the logits, with
a rate of its own (RMT: Retentive Networks Meet Vision Transformers, arXiv 2309.11523, equations 5 to 8). The mask is a
sum of one part for rows and one for columns, so only those two small parts are ever kept; they are made from the size
of the map at each forward and remembered outside of any module (`shared`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lineside.export.modules.shared import shared

__all__ = ["RelPos2d", "Relation", "turned"]


class Relation(NamedTuple):
    """What retention knows of the positions in a map of H x W cells.

    Attributes:
        mask_h: Logits between rows, ``(heads, H, H)``.
        mask_w: Logits between columns, ``(heads, W, W)``.
        sin: Sine of the rotation, ``(H, W, d)``; None without rotation.
        cos: Its cosine.
    """

    mask_h: torch.Tensor
    mask_w: torch.Tensor
    sin: torch.Tensor | None
    cos: torch.Tensor | None

    def mask_whole(self) -> torch.Tensor:
        """Logits between all cells, row by row: ``(heads, H * W, H * W)``."""
        heads, height, width = self.mask_h.shape[0], self.mask_h.shape[1], self.mask_w.shape[1]
        both = self.mask_h[:, :, None, :, None] + self.mask_w[:, None, :, None, :]
        return both.reshape(heads, height * width, height * width)


class RelPos2d(nn.Module):
    """Positions of one stage: decay rates of its heads, and angles of its rotation.

    ``decay_n = ln(1 - 2 ** -(initial_value + heads_range * n / num_heads))`` and ``angle_i = 10000 ** -linspace(0, 1,
    d / 2)``, each twice, for heads of ``d`` channels. Both follow from the arguments, so neither is trained or stored;
    a state_dict that brings them (``angle``, ``decay``) is checked against them.

    Args:
        embed_dim: Channels of all heads.
        num_heads: Heads.
        initial_value: Exponent of the fastest decay.
        heads_range: How far the exponents of the heads reach beyond it.
        rotary: Rotate queries and keys by their position as well.

    Raises:
        ValueError: The channels cannot be shared among the heads, a rate is not finite, or a rotation has no pairs.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, initial_value: float = 2, heads_range: float = 4, rotary: bool = False
    ) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            raise ValueError(f"{embed_dim} channels cannot be shared among {num_heads} heads")
        exponents = [initial_value + heads_range * head / num_heads for head in range(num_heads)]
        if not all(0 < exponent < 24 for exponent in exponents):
            raise ValueError(
                f"initial_value {initial_value} and heads_range {heads_range} give the exponents {exponents}, and a "
                "decay rate needs one between 0 and 24"
            )
        self.head_dim = embed_dim // num_heads
        if rotary and self.head_dim % 2:
            raise ValueError(f"a rotation turns pairs of channels, and a head has {self.head_dim}")
        self.num_heads = num_heads
        self.initial_value, self.heads_range = float(initial_value), float(heads_range)
        self.rotary = rotary

    @property
    def decay(self) -> torch.Tensor:
        """Logit per cell of distance of each head, ``(num_heads,)`` float32, all below 0."""
        return torch.from_numpy(_decay(self.num_heads, self.initial_value, self.heads_range))

    @property
    def angle(self) -> torch.Tensor:
        """Radians per cell of each channel of a head, ``(head_dim,)`` float32."""
        return torch.from_numpy(_angle(self.head_dim))

    def forward(self, height: int, width: int, like: torch.Tensor) -> Relation:
        """Positions of a map.

        Args:
            height: Rows.
            width: Columns.
            like: A tensor whose device and dtype the result has.

        Returns:
            Masks, and the rotation where this stage has one.
        """
        rates = (self.num_heads, self.initial_value, self.heads_range)
        mask_h, mask_w = (shared(_mask, int(side), *rates, like=like) for side in (height, width))
        if not self.rotary:
            return Relation(mask_h, mask_w, None, None)
        size = (int(height), int(width), self.head_dim)
        return Relation(mask_h, mask_w, shared(_sine, *size, like=like), shared(_cosine, *size, like=like))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Takes ``angle`` and ``decay`` of a checkpoint for what they are: a check of the arguments."""
        unexpected, errors = rest[3], rest[4]
        super()._load_from_state_dict(state_dict, prefix, *rest)
        for name in ("angle", "decay"):
            key = prefix + name
            if key not in state_dict:
                continue
            if key in unexpected:
                unexpected.remove(key)
            given, own = state_dict[key].detach().float().cpu(), getattr(self, name)
            if given.shape != own.shape or not torch.allclose(given, own, rtol=2e-3, atol=1e-4):
                errors.append(f"{key} is {given.tolist()}, and heads and their range give {own.tolist()}")

    def extra_repr(self) -> str:
        """Arguments, for print(model)."""
        return (
            f"heads={self.num_heads}, head_dim={self.head_dim}, initial_value={self.initial_value:g}, "
            f"heads_range={self.heads_range:g}, rotary={self.rotary}"
        )


def turned(x: torch.Tensor) -> torch.Tensor:
    """Pairs of neighbouring channels turned by a right angle: ``(a, b)`` becomes ``(-b, a)``; any shape, d even."""
    pairs = x.reshape(*x.shape[:-1], x.shape[-1] // 2, 2)
    return torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).flatten(-2)


def _decay(heads: int, initial: float, reach: float) -> NDArray[np.float32]:
    """Rates of the heads."""
    return np.array([math.log1p(-(2.0 ** -(initial + reach * n / heads))) for n in range(heads)], np.float32)


def _angle(dim: int) -> NDArray[np.float32]:
    """Radians per cell of the channels of a head.

    The originals step from 0 to 1 in float32, from both ends to the middle, and take the power in float32. An error in
    the last digit would be multiplied by the number of the cell, so the rounding is the same here.
    """
    pairs = dim // 2
    step, index = float(np.float32(1 / max(pairs - 1, 1))), np.arange(pairs)
    from_below, from_above = step * index, 1 - step * (pairs - 1 - index)
    exponents = np.where(index < max(pairs // 2, 1), from_below, from_above).astype(np.float32)
    return np.repeat(np.float32(1) / (10000.0 ** exponents.astype(np.float64)).astype(np.float32), 2)


def _mask(side: int, heads: int, initial: float, reach: float) -> NDArray[np.float32]:
    """Logits between the cells of one side, ``(heads, side, side)``."""
    cells = np.arange(side, dtype=np.float32)
    apart = np.abs(cells[:, None] - cells[None, :])
    mask: NDArray[np.float32] = _decay(heads, initial, reach)[:, None, None] * apart
    return mask


def _turn(height: int, width: int, dim: int) -> NDArray[np.float32]:
    """Radians of each cell and channel, ``(row * width + column) * angle``: ``(height, width, dim)``."""
    return np.arange(height * width, dtype=np.float32).reshape(height, width, 1) * _angle(dim)


def _sine(height: int, width: int, dim: int) -> NDArray[np.float32]:
    return np.sin(_turn(height, width, dim))


def _cosine(height: int, width: int, dim: int) -> NDArray[np.float32]:
    return np.cos(_turn(height, width, dim))
