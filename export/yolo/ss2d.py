"""The 2-D selective scan of VMamba in a YOLO model."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from ultralytics.nn.modules.block import C2f

from lineside.export.modules.selective_scan import SS2D

__all__ = ["C3k2_SS2D", "SS2DBlock"]


class SS2DBlock(nn.Module):
    """What VMamba's block does before its feed-forward part: ``x + SS2D(LayerNorm(x))``, on (B, C, H, W).

    Args:
        channels: C.
        state: States of a channel.
        ratio: Inner channels over C.
    """

    def __init__(self, channels: int, state: int = 1, ratio: float = 1.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.scan = SS2D(channels, state, ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Computes it; the shape stays."""
        return x + cast(Tensor, self.scan(self.norm(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


class C3k2_SS2D(C2f):  # noqa: N801 - the name in model yamls
    """A C3k2 whose bottlenecks are `SS2DBlock`.

    Row: ``[-1, repeats, C3k2_SS2D, [channels, {state: 1, ratio: 1}]]``. These two are what VMamba's fast variants have;
    the cost grows with their product. A scan has as many steps as the map has pixels: it belongs where maps are small.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        n: Number of blocks.
        state: States of a channel.
        ratio: Inner channels of a block over its channels.
        e: Channels of a block as a share of ``c2``.
    """

    lineside_args = ("c1", "c2", "n")

    def __init__(self, c1: int, c2: int, n: int = 1, state: int = 1, ratio: float = 1.0, e: float = 0.5) -> None:
        super().__init__(c1, c2, n, e=e)
        if state < 1 or ratio <= 0:
            raise ValueError(f"a channel has at least 1 state and the ratio is above 0, not {state} and {ratio}")
        self.m = nn.ModuleList(SS2DBlock(self.c, state, ratio) for _ in range(n))
