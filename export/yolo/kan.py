"""FastKAN in a YOLO model: a C3k2 whose bottlenecks end in a FastKAN convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from ultralytics.nn.modules.block import C2f
from ultralytics.nn.modules.conv import Conv

from lineside.export.modules.fast_kan import FastKANConv2d

__all__ = ["C3k2_FastKAN", "KANBottleneck"]

NORMS: dict[str, Literal["batch", "instance"]] = {
    "bn": "batch",
    "in": "instance",
    "batch": "batch",
    "instance": "instance",
}
"""Normalisations by the names that a row may give them."""


class KANBottleneck(nn.Module):
    """``x + kan(cv1(x))``: a 3x3 convolution to half the channels, and a 3x3 `FastKANConv2d` back.

    Args:
        dim: Channels.
        grid: Points of the grid.
        norm: ``batch`` or ``instance``.
        grid_range: First and last point.
        dropout: Chance that training drops a map of bumps.
        e: Channels between as a share of ``dim``.
        shortcut: Add the input.
    """

    def __init__(
        self,
        dim: int,
        grid: int = 8,
        norm: Literal["batch", "instance"] = "instance",
        grid_range: Sequence[float] = (-2, 2),
        dropout: float = 0.0,
        e: float = 0.5,
        shortcut: bool = True,
    ) -> None:
        super().__init__()
        hidden = int(dim * e)
        self.cv1 = Conv(dim, hidden, 3, 1)
        self.cv2 = FastKANConv2d(
            hidden, dim, 3, padding=1, grid_size=grid, grid_range=grid_range, dropout=dropout, norm=norm
        )
        self.add = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, C, H, W)`` to the same shape."""
        y: torch.Tensor = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C3k2_FastKAN(C2f):  # noqa: N801 - named as the community names such blocks
    """A C3k2 whose blocks are `KANBottleneck`.

    Row: ``[-1, repeats, C3k2_FastKAN, [channels, {grid: 4, norm: bn}]]``.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        n: Number of blocks.
        e: Channels of a block as a share of ``c2``.
        grid: Points of the grid; a FastKAN convolution costs one plain one more than that.
        norm: Normalisation in front of the bumps: ``bn`` (or ``batch``), ``in`` (or ``instance``).
        grid_range: First and last point of the grid.
        dropout: Chance that training drops a map of bumps.
        shortcut: Blocks add their input.

    Raises:
        ValueError: No such normalisation, or no such grid.
    """

    lineside_args = ("c1", "c2", "n")

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        e: float = 0.5,
        grid: int = 8,
        norm: str = "in",
        grid_range: Sequence[float] = (-2, 2),
        dropout: float = 0.0,
        shortcut: bool = True,
    ) -> None:
        if norm not in NORMS:
            raise ValueError(f"norm is one of {', '.join(NORMS)}, not {norm!r}")
        super().__init__(c1, c2, n, shortcut, 1, e)
        blocks = (KANBottleneck(self.c, grid, NORMS[norm], grid_range, dropout, shortcut=shortcut) for _ in range(n))
        self.m = nn.ModuleList(blocks)
