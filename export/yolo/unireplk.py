"""UniRepLKNet in a YOLO model: its block inside a C3k2, and the network as the backbone."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from ultralytics.nn.modules.block import C2f

from lineside.export.modules.unireplknet import UniRepLKNet, UniRepLKNetBlock

__all__ = ["C3k2_UniRepLK", "UniRepLKNetBackbone"]

LAYER_SCALE = 1.0
"""What ``gamma`` starts with in a YOLO model.

The published networks start with 1e-6, which lets dozens of blocks be trained for hundreds of epochs as if they were not
there at first. A YOLO model has one or two blocks of this kind per layer and may be trained for a few hundred steps:
``gamma`` moves by about the learning rate in a step of AdamW (from 1e-6 it had come to 0.007 after 60 steps at 0.0015),
so the block would hardly take part, and 1e-6 lies below the normal numbers of the half precision that checkpoints are
stored in. The BatchNorm in front of ``gamma`` gives the branch unit variance, as the one in the bottleneck that the block
replaces does; that one has no factor behind it, which is a 1.
"""

OF_SCALE = {"n": "a", "s": "f", "m": "p", "l": "n", "x": "t"}
"""Variant of the backbone for each scale of a YOLO model, by their sizes."""

LEVELS = (1, 2, 3)
"""Stages that a YOLO neck reads: strides 8, 16 and 32."""


class C3k2_UniRepLK(C2f):  # noqa: N801 - named as the community names such blocks
    """A C3k2 whose bottlenecks are `UniRepLKNetBlock`.

    Row: ``[-1, repeats, C3k2_UniRepLK, [channels, kernel, ffn factor, e]]``.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        n: Number of blocks.
        kernel: Side of the depth-wise kernel.
        ffn_factor: Channels of the feed-forward part of a block as a multiple of those of the block.
        e: Channels of a block as a share of ``c2``.
    """

    lineside_args: tuple[str, ...] = ("c1", "c2", "n")

    def __init__(self, c1: int, c2: int, n: int = 1, kernel: int = 7, ffn_factor: float = 4.0, e: float = 0.5) -> None:
        super().__init__(c1, c2, n, e=e)
        self.m = nn.ModuleList(UniRepLKNetBlock(self.c, kernel, ffn_factor, layer_scale=LAYER_SCALE) for _ in range(n))


class UniRepLKNetBackbone(nn.Module):
    """UniRepLKNet as the backbone of a YOLO model; returns the maps of strides 8, 16 and 32.

    Row: ``[-1, 1, UniRepLKNetBackbone, [variant]]``, first of the model. Its channels are those of the variant.

    Args:
        c1: Channels of the picture.
        scale: Letter of the model's scale.
        variant: Letter of the network; the one that goes with the scale when None.

    Raises:
        ValueError: There is no such variant.
    """

    lineside_args = ("c1", "scale")

    def __init__(self, c1: int, scale: str = "n", variant: str | None = None) -> None:
        super().__init__()
        letter = variant or OF_SCALE.get(scale, "a")
        self.net = UniRepLKNet.of_variant(letter, channels=c1, levels=LEVELS, layer_scale=LAYER_SCALE)
        self.out_channels = tuple(self.net.dims[index] for index in LEVELS)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Maps ``(B, c1, H, W)`` to three maps of strides 8, 16 and 32."""
        return cast(list[torch.Tensor], self.net(x))
