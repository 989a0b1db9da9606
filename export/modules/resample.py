"""Resampling at learned places, guided by how alike a pixel and its neighbours are.

The offset generator of FreqFusion (Chen et al., "Frequency-aware Feature Fusion for Dense Image Prediction", IEEE TPAMI
2024, arXiv 2408.12879), which looks at the local cosine similarity.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional

from lineside.runtime.errors import BadOption

__all__ = ["LocalSimilaritySampler", "local_similarity"]

SCALE = 2
"""Resolution of the fine map over that of the coarse one."""

LEAST_LENGTH = 1e-8
"""A pixel shorter than this counts as this long when it is made a unit, so that one of zeros is like no other."""


def local_similarity(x: torch.Tensor, kernel: int = 3, dilation: int = 2) -> torch.Tensor:
    """Cosine similarity of each pixel with the pixels around it.

    Args:
        x: ``(N, C, H, W)``.
        kernel: Pixels along each side of the neighbourhood, odd, at least 3.
        dilation: Distance between its pixels.

    Returns:
        ``(N, kernel * kernel - 1, H, W)``: neighbours row-major, without the pixel itself; 0 for one outside.
    """
    h, w = x.shape[2:]
    reach = dilation * (kernel // 2)
    unit = x / x.norm(dim=1, keepdim=True).clamp(min=max(LEAST_LENGTH, torch.finfo(x.dtype).tiny))
    padded = functional.pad(unit, (reach, reach, reach, reach))
    steps = [step * dilation for step in range(kernel)]
    return torch.stack(
        [
            (unit * padded[:, :, row : row + h, column : column + w]).sum(1)
            for row in steps
            for column in steps
            if (row, column) != (reach, reach)
        ],
        1,
    )


class LocalSimilaritySampler(nn.Module):
    """Resamples a map bilinearly at places moved by what a fine and a coarse guide say.

    With f and c = the guides, normalised, and their `local_similarity` behind their channels, and unshuffle = 2x2 pixels
    to channels::

        offset = (A(c) + unshuffle(B(f))) * sigmoid(C(c) + unshuffle(D(f))) + start

    A to D are 3x3 convolutions, ``start`` the fine pixels' own places. Offsets are in pixels of the coarse map; channels
    are x of every group, then y of every group, each with the four fine pixels row-major.

    Args:
        channels: Channels of both guides.
        features: Channels of the map that is resampled.
        groups: Groups of its channels with places of their own.
        norm: Whether the guides are normalised, over groups of 8 channels.
        kernel: Side of the neighbourhood of the similarity.
        dilation: Distance between its pixels.

    Raises:
        BadOption: Channels cannot be grouped so.
    """

    def __init__(
        self, channels: int, features: int, groups: int = 4, norm: bool = True, kernel: int = 3, dilation: int = 2
    ) -> None:
        super().__init__()
        if groups < 1 or features % groups:
            raise BadOption(f"{features} channels cannot be resampled in {groups} groups: give a divisor")
        if norm and (channels < 8 or channels % (channels // 8)):
            raise BadOption(f"{channels} channels cannot be normalised in {channels // 8} groups: give a multiple of 8")
        self.groups, self.kernel, self.dilation = groups, kernel, dilation
        inputs, phases = channels + kernel**2 - 1, SCALE**2
        self.offset = nn.Conv2d(inputs, 2 * groups * phases, 3, padding=1)
        self.direct_scale = nn.Conv2d(inputs, 2 * groups * phases, 3, padding=1)
        self.hr_offset = nn.Conv2d(inputs, 2 * groups, 3, padding=1)
        self.hr_direct_scale = nn.Conv2d(inputs, 2 * groups, 3, padding=1)
        self.norm_hr = nn.GroupNorm(channels // 8, channels) if norm else nn.Identity()
        self.norm_lr = nn.GroupNorm(channels // 8, channels) if norm else nn.Identity()
        self.register_buffer("init_pos", self._start())
        self.reset_parameters()

    def _start(self) -> torch.Tensor:
        """Places of the fine pixels around the middle of their coarse one, ``(1, 2 * groups * 4, 1, 1)``."""
        side = (torch.arange(SCALE) + 0.5) / SCALE - 0.5
        xy = torch.stack([side.repeat(SCALE), side.repeat_interleave(SCALE)])
        return xy[:, None].expand(-1, self.groups, -1).reshape(1, -1, 1, 1)

    def reset_parameters(self) -> None:
        """Initial values: offsets of next to nothing, at half their weight."""
        for conv in (self.offset, self.hr_offset, self.direct_scale, self.hr_direct_scale):
            nn.init.normal_(conv.weight, std=0.001)
            nn.init.zeros_(cast(torch.Tensor, conv.bias))

    def forward(self, hr: torch.Tensor, lr: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Resamples.

        Args:
            hr: Fine guide ``(N, channels, 2 H, 2 W)``.
            lr: Coarse guide ``(N, channels, H, W)``.
            features: What is resampled, ``(N, features, *, *)``; it covers the same picture. Beyond its border lie the
                values of the border.

        Returns:
            ``(N, features, 2 H, 2 W)``.
        """
        fine, coarse = self._seen(self.norm_hr(hr)), self._seen(self.norm_lr(lr))
        moves = self.offset(coarse) + functional.pixel_unshuffle(self.hr_offset(fine), SCALE)
        share = self.direct_scale(coarse) + functional.pixel_unshuffle(self.hr_direct_scale(fine), SCALE)
        return self._sampled(features, moves * share.sigmoid() + cast(torch.Tensor, self.init_pos))

    def _seen(self, x: torch.Tensor) -> torch.Tensor:
        """A guide with its similarities."""
        return torch.cat([x, local_similarity(x, self.kernel, self.dilation)], 1)

    def _sampled(self, features: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        """The features at the places that offsets ``(N, 2 * groups * 4, H, W)`` lead to."""
        n, _, h, w = offset.shape
        columns, rows = (
            (torch.arange(side, dtype=offset.dtype, device=offset.device) + 0.5) * (2 / side) - 1 for side in (w, h)
        )
        x, y = functional.pixel_shuffle(offset, SCALE).reshape(n, 2, self.groups, SCALE * h, SCALE * w).unbind(1)
        x = x * (2 / w) + columns.repeat_interleave(SCALE)
        y = y * (2 / h) + rows.repeat_interleave(SCALE)[:, None]
        grid = torch.stack([x, y], -1).reshape(n * self.groups, SCALE * h, SCALE * w, 2)
        maps = features.reshape(n * self.groups, -1, *features.shape[2:])
        sampled = functional.grid_sample(maps.to(grid.dtype), grid, padding_mode="border", align_corners=False)
        return sampled.reshape(n, -1, SCALE * h, SCALE * w)
