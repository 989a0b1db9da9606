"""An encoder of multi-scale deformable attention between the neck and the head of a YOLO model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from lineside.export.modules.ms_deform_attn import MSDeformAttn
from lineside.runtime.errors import BadOption

__all__ = ["MSDeformEncoder"]

TEMPERATURE = 10000.0
"""Ratio of the longest and the shortest wave of the positions (Vaswani et al., 2017, section 3.5)."""

START = 0.01
"""Standard deviation of the first weights on the way back: at the start the maps pass nearly unchanged."""


class MSDeformEncoder(nn.Module):
    """Lets every pixel of every level look at all levels, and adds what it saw to the level.

    The encoder of Deformable DETR (Zhu et al., 2021, section 4.1 and appendix A.4) on maps of several channels: each
    level is projected to ``hidden`` channels by a 1x1 convolution, ``layers`` encoder layers follow, and 1x1
    convolutions lead back to each level's channels, added to what came in. Row: ``[[P3, P4, P5], 1, MSDeformEncoder,
    [64, 4, 4]]``; it returns a list of maps, of which rows ``[LAYER, 1, Tap, [k]]`` pick one each.

    Args:
        channels: Channels of each level.
        hidden: Channels of the encoder, a multiple of 4.
        heads: Heads of the attention.
        points: Places per head and level.
        layers: Encoder layers.
        ffn: Channels of the feed-forward part over ``hidden``.

    Raises:
        BadOption: ``hidden`` is no multiple of 4 or not shared evenly by the heads, or a number is below 1.
    """

    lineside_args = ("channels",)
    lineside_static = "the shapes of its levels and the places of their pixels are constants of the graph"

    def __init__(
        self,
        channels: Sequence[int],
        hidden: int = 64,
        heads: int = 4,
        points: int = 4,
        layers: int = 1,
        ffn: float = 2.0,
    ) -> None:
        super().__init__()
        if hidden % 4 or min(hidden, layers, round(hidden * ffn)) < 1:
            raise BadOption(
                f"MSDeformEncoder with {hidden} channels, {layers} layers and a feed-forward part of {ffn} times as many "
                "channels cannot be built: give at least 1 layer and a multiple of 4 channels"
            )
        if not channels or not all(isinstance(number, int) for number in channels):
            raise BadOption("MSDeformEncoder reads layers that return one map each: its row reads such as [16, 19, 22]")
        self.out_channels = tuple(channels)
        self.down = nn.ModuleList(nn.Conv2d(number, hidden, 1) for number in channels)
        self.layers = nn.ModuleList(
            _Layer(hidden, len(channels), heads, points, round(hidden * ffn)) for _ in range(layers)
        )
        self.up = nn.ModuleList(nn.Conv2d(hidden, number, 1) for number in channels)
        self.level = nn.Parameter(torch.empty(len(channels), hidden))
        nn.init.normal_(self.level, std=hidden**-0.5)
        for back in self.up:
            nn.init.normal_(cast(nn.Conv2d, back).weight, std=START)
            nn.init.zeros_(cast(torch.Tensor, cast(nn.Conv2d, back).bias))

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Maps of shape ``(N, C_l, H_l, W_l)``, finest first; a list of the same shapes."""
        shapes = [(int(level.shape[2]), int(level.shape[3])) for level in maps]
        low = [down(level) for down, level in zip(self.down, maps, strict=True)]
        positions = [_waves(*shape, low[0]) for shape in shapes]
        reference = torch.cat([_centres(*shape, low[0]) for shape in shapes])[None, :, None].expand(
            -1, -1, len(low), -1
        )
        x = torch.cat([level.flatten(2).transpose(1, 2) for level in low], 1)
        for layer in self.layers:
            query = torch.cat(self._placed(x, shapes, positions), 1)
            x = layer(x, query, reference, shapes)
        found = []
        for index, level in enumerate(torch.split(x, [h * w for h, w in shapes], 1)):
            seen = level.transpose(1, 2).reshape(level.shape[0], -1, *shapes[index])
            found.append(maps[index] + self.up[index](seen))
        return found

    def _placed(
        self, x: torch.Tensor, shapes: Sequence[tuple[int, int]], positions: Sequence[tuple[torch.Tensor, torch.Tensor]]
    ) -> list[torch.Tensor]:
        """Each level's pixels with their position and level on them, ``(N, H * W, hidden)``.

        Rows and columns are added one after the other, so that no graph holds a constant the size of the map.
        """
        placed = []
        for index, level in enumerate(torch.split(x, [h * w for h, w in shapes], 1)):
            rows, columns = positions[index]
            grid = level.reshape(level.shape[0], *shapes[index], -1)
            placed.append((grid + (rows + self.level[index]) + columns).flatten(1, 2))
        return placed


class _Layer(nn.Module):
    """One layer: attention and a feed-forward part, each added to its input and normalised."""

    def __init__(self, hidden: int, levels: int, heads: int, points: int, inner: int) -> None:
        super().__init__()
        self.attention = MSDeformAttn(hidden, levels, heads, points)
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.widen, self.narrow = nn.Linear(hidden, inner), nn.Linear(inner, hidden)

    def forward(
        self, x: torch.Tensor, query: torch.Tensor, reference: torch.Tensor, shapes: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """``(N, S, hidden)``; ``query`` is x with its positions, ``reference`` ``(1, S, levels, 2)``."""
        x = self.norm1(x + self.attention(query, reference, x, shapes))
        return cast(torch.Tensor, self.norm2(x + self.narrow(self.widen(x).relu())))


def _centres(h: int, w: int, like: torch.Tensor) -> torch.Tensor:
    """Centres of a map's pixels as x and y between 0 and 1, row by row, ``(h * w, 2)``, float32 at least."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    y, x = ((torch.arange(side, dtype=dtype, device=like.device) + 0.5) / side for side in (h, w))
    return torch.stack([x.repeat(h), y.repeat_interleave(w)], -1)


def _waves(h: int, w: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sines and cosines of the place of a row ``(h, 1, C)`` and of a column ``(1, w, C)``, C channels as ``like`` has.

    Rows fill the first half of the channels and columns the second, zeros the rest; a place goes from 0 to 2 pi over the
    map (Carion et al., "DETR", 2020, appendix A.4).
    """
    quarter = like.shape[1] // 4
    steps = torch.arange(quarter, dtype=torch.float32, device=like.device)
    speeds = TEMPERATURE ** (-steps / quarter)
    waves = []
    for side in (h, w):
        place = (torch.arange(side, dtype=torch.float32, device=like.device) + 0.5) * (2 * math.pi / side)
        angle = place[:, None] * speeds
        waves.append(torch.cat([angle.sin(), angle.cos()], -1).to(like.dtype))
    rows, columns = waves
    rows = torch.cat([rows, torch.zeros_like(rows)], -1)
    columns = torch.cat([torch.zeros_like(columns), columns], -1)
    return rows[:, None], columns[None]
