"""RMT in a YOLO model: its attention in the place of that of C2PSA, and the network as the backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn
from ultralytics.nn.modules.block import C2PSA

from lineside.export.modules.rmt import RMT, RelPos2d, RetBlock, RMTConfig

__all__ = ["C2PSA_MaSA", "C2PSA_MaSAd", "RMTBackbone", "RetLayer"]

AUTO_DIM = 32
"""Channels of a head where a row asks for ``heads: auto32``."""

LEVELS = (1, 2, 3)
"""Stages that a YOLO neck reads: strides 8, 16 and 32."""


class RetLayer(nn.Module):
    """A `RetBlock` among layers whose channels come second.

    Args:
        dim: Channels.
        retention: ``whole`` or ``chunk``, see `RetBlock`.
        heads: Heads.
        ffn_dim: Channels inside its feed-forward network.
        positions: Arguments of `RelPos2d` behind the heads.
    """

    def __init__(
        self, dim: int, retention: Literal["whole", "chunk"], heads: int, ffn_dim: int, **positions: Any
    ) -> None:
        super().__init__()
        self.relpos = RelPos2d(dim, heads, **positions)
        self.block = RetBlock(retention, dim, heads, ffn_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, C, H, W)`` to the same shape."""
        relation = self.relpos(x.shape[2], x.shape[3], x)
        y: torch.Tensor = self.block(x.permute(0, 2, 3, 1), relation)
        return y.permute(0, 3, 1, 2).contiguous()


class C2PSA_MaSA(C2PSA):  # noqa: N801 - named as the community names such blocks
    """A C2PSA whose attention decays with the distance: every cell of the map sees every other.

    Row: ``[-1, repeats, C2PSA_MaSA, [channels, {heads: auto32, init: 2, range: 4, rotary: false}]]``.

    Args:
        c1: Channels of the input.
        c2: Channels of the output, as many.
        n: Number of blocks.
        e: Channels of a block as a share of ``c2``.
        heads: Heads of a block; ``auto32`` for heads of 32 channels.
        init: Exponent of the fastest decay, see `RelPos2d`.
        range: How far the exponents of the heads reach beyond it.
        rotary: Rotate queries and keys by their position as well.
        ffn: Channels of the feed-forward network of a block as a multiple of those of the block.

    Raises:
        ValueError: ``c1`` and ``c2`` differ, or the heads cannot share the channels.
    """

    lineside_args = ("c1", "c2", "n")

    retention: Literal["whole", "chunk"] = "whole"

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        e: float = 0.5,
        heads: int | str = "auto32",
        init: float = 2,
        range: float = 4,  # noqa: A002 - as the row names it
        rotary: bool = False,
        ffn: float = 2.0,
    ) -> None:
        if c1 != c2:
            raise ValueError(f"it keeps the number of channels, and is to make {c2} of {c1}")
        super().__init__(c1, c2, 0, e)
        count = max(1, self.c // AUTO_DIM) if heads == "auto32" else heads
        if not isinstance(count, int) or isinstance(count, bool):
            raise ValueError(f"heads is a number or auto32, not {heads!r}")
        positions = {"initial_value": init, "heads_range": range, "rotary": rotary}
        layers = (RetLayer(self.c, self.retention, count, int(self.c * ffn), **positions) for _ in [None] * n)
        self.m = nn.Sequential(*layers)


class C2PSA_MaSAd(C2PSA_MaSA):  # noqa: N801 - named as the community names such blocks
    """The same, along the rows and then along the columns: cheaper, and for maps of any size. Row and arguments as there."""

    retention = "chunk"


class RMTBackbone(nn.Module):
    """RMT as the backbone of a YOLO model; returns the maps of strides 8, 16 and 32.

    Row: ``[-1, 1, RMTBackbone, [{dims: [...], depths: [...], heads: [...], chunk: [...]}]]``, first of the model, with
    one entry per stage; channels, heads and depths are those of full size and scaled with the model.

    Args:
        c1: Channels of the picture.
        width: Factor of the channels and heads.
        depth: Factor of the blocks.
        dims: Channels at full width.
        depths: Blocks at full depth.
        heads: Heads at full width.
        chunk: Rows and columns one after the other, instead of the whole map at once.
        mlp: Channels of the feed-forward networks as a multiple of those of the stage.
        init: Exponent of the fastest decay of the heads.
        range: How far the exponents reach beyond it; one number or one per stage.
        rotary: Rotate queries and keys by their position as well.
        drop_path: Chance that training leaves out a residual of the last block.
        checkpointing: Training keeps less and computes it again.

    Raises:
        ValueError: A list has not one entry per stage, or the heads cannot share the channels.
    """

    lineside_args = ("c1", "width", "depth")

    def __init__(
        self,
        c1: int,
        width: float,
        depth: float,
        dims: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        chunk: Sequence[bool] = (True, True, True, False),
        mlp: Sequence[float] = (3, 3, 3, 3),
        init: float = 2,
        range: float | Sequence[float] = (4, 4, 6, 6),  # noqa: A002 - as the row names it
        rotary: bool = False,
        drop_path: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        scaled_heads = tuple(max(1, round(count * width)) for count in heads)
        config = RMTConfig(
            embed_dims=tuple(_channels(dim, width, count) for dim, count in zip(dims, scaled_heads, strict=True)),
            depths=tuple(max(1, round(count * depth)) for count in depths),
            num_heads=scaled_heads,
            init_values=(init,) * len(dims),
            heads_ranges=tuple(range) if isinstance(range, Sequence) else (range,) * len(dims),
            mlp_ratios=tuple(mlp),
            chunk=tuple(chunk),
            rotary=rotary,
            drop_path=drop_path,
            outputs=LEVELS,
            checkpointing=checkpointing,
        )
        self.net = RMT(config, c1)
        self.out_channels = self.net.channels

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Maps ``(batch, c1, H, W)`` to three maps of strides 8, 16 and 32."""
        maps: list[torch.Tensor] = self.net(x)
        return maps


def _channels(dim: int, width: float, heads: int) -> int:
    """Channels of a stage: a multiple of 8 for each head."""
    unit = 8 * heads
    return max(unit, round(dim * width / unit) * unit)
