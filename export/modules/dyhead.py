"""Dynamic head: Dai et al., "Dynamic Head: Unifying Object Detection Heads with Attentions" (2021).

One block looks at all levels at once: deformable convolutions gather from the level itself and its neighbours (spatial
attention), a number for each of those terms weighs it (scale attention), and a dynamic ReLU switches
channels (task attention; Chen et al., "Dynamic ReLU", 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lineside.export.modules.deform_conv import ModulatedDeformConv2d, split_offsets

__all__ = ["NORM_GROUPS", "DyDCNv2", "DyHead", "DyHeadBlock", "DyReLU", "HighLevelOffset"]

HighLevelOffset = Literal["crop", "flat_prefix"]

NORM_GROUPS = 16
"""Groups of the normalisation behind each deformable convolution: its channels are a multiple of this."""

TAPS = 9

STD = 0.01
"""Standard deviation of the weights of convolutions at the start."""


class DyReLU(nn.Module):
    """An activation whose slopes and intercepts depend on the whole input: equation 4 of the paper in each mode.

    With ``t`` between 0 and 1 out of the pooled input, ``a1 = (t - 0.5) * 2 * lambda_a + 1``, ``a2`` the same without
    the one, and ``b = t - 0.5``, the output is, by mode,

    - two pieces and bias: ``max(a1 * x + b1, a2 * x + b2)``
    - two pieces: ``max(a1 * x, a2 * x)``
    - one piece and bias: ``a1 * x + b1``
    - one piece: ``a1 * x``

    Args:
        inp: Channels of the input.
        reduction: How much narrower the pooled input becomes on its way.
        lambda_a: How far slopes move.
        pieces: 2 or 1 (``K2`` or not).
        use_bias: Add intercepts.
        use_spatial: Weigh places as well: a softmax over all places, times their number, cut off between 0 and 3 and
            divided by 3.
        oup: Coefficients for this many channels: as many as the input has, one for all of them, or any number for an
            input of one channel.

    Attributes:
        fc: The way from the pooled input to ``t``.
        spa: The way to the weights of places; None without.

    Raises:
        ValueError: There are not one or two pieces, or ``oup`` does not fit ``inp``.
    """

    def __init__(
        self,
        inp: int,
        reduction: int = 4,
        lambda_a: float = 1.0,
        pieces: int = 2,
        use_bias: bool = True,
        use_spatial: bool = False,
        oup: int | None = None,
    ) -> None:
        super().__init__()
        if pieces not in (1, 2):
            raise ValueError(f"a dynamic ReLU has one or two pieces, not {pieces}")
        self.oup = oup or inp
        if inp not in (1, self.oup) and self.oup != 1:
            raise ValueError(f"coefficients for {self.oup} channels do not fit an input of {inp}")
        self.scale, self.pieces, self.use_bias = 2 * lambda_a, pieces, use_bias
        squeezed = max(inp // reduction, 1) if reduction == 4 else _divisible(inp // reduction, 4)
        self.fc = nn.Sequential(
            nn.Linear(inp, squeezed),
            nn.ReLU(inplace=True),
            nn.Linear(squeezed, self.oup * pieces * (2 if use_bias else 1)),
        )
        self.spa = nn.Sequential(nn.Conv2d(inp, 1, 1), nn.BatchNorm2d(1)) if use_spatial else None

    def forward(self, x: Tensor) -> Tensor:
        """Activates ``(n, inp, h, w)``; the output has the same shape, and ``oup`` channels for an input of one."""
        t = functional.hardsigmoid(self.fc(x.mean((2, 3))))[:, :, None, None] - 0.5
        # Order of the coefficients: a1, b1, a2, b2, without those that the mode does not have.
        parts = list(torch.split(t, self.oup, 1))
        ys = []
        for piece in range(self.pieces):
            y = x * (parts.pop(0) * self.scale + (1.0 if piece == 0 else 0.0))
            ys.append(y + parts.pop(0) if self.use_bias else y)
        y = ys[0] if self.pieces == 1 else torch.maximum(*ys)
        return y if self.spa is None else y * self._places(self.spa(x))

    def _places(self, logits: Tensor) -> Tensor:
        """Weights of places between 0 and 1, ``(n, 1, h, w)``."""
        flat = logits.flatten(1)
        return (flat.softmax(1) * flat.shape[1]).clamp(0, 3).view_as(logits) / 3


class DyDCNv2(nn.Module):
    """A 3x3 modulated deformable convolution with the normalisation behind it; offsets and mask come from outside.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output; with normalisation a multiple of `NORM_GROUPS`.
        stride: Step.
        norm: Normalise in groups; without it the convolution has a bias instead.

    Raises:
        ValueError: The channels do not divide into the groups.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, norm: bool = True) -> None:
        super().__init__()
        if norm and out_channels % NORM_GROUPS:
            raise ValueError(f"a dynamic head has a multiple of {NORM_GROUPS} channels, not {out_channels}")
        self.conv = ModulatedDeformConv2d(in_channels, out_channels, 3, stride, 1, bias=not norm)
        self.norm = nn.GroupNorm(NORM_GROUPS, out_channels) if norm else None
        nn.init.normal_(self.conv.weight, 0, STD)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Convolves ``(n, in_channels, h, w)`` with 18 offsets and 9 mask values for each place of the output."""
        y = self.conv(x, offset, mask)
        return cast(Tensor, y if self.norm is None else self.norm(y))


class DyHeadBlock(nn.Module):
    """All three attentions, over neighbouring levels that each have half the resolution of the one before.

    Those of the paper, under its headings "Scale-aware Attention", "Spatial-aware Attention" and "Task-aware Attention",
    put together as the code published with it does: the sum over levels there is one over a level and its neighbours.

    ``f = mid(x_l) S(mid) + low(x_{l-1}) S(low) + up(high(x_{l+1})) S(high)``, divided by the number of terms, then the
    dynamic ReLU. ``S`` is the scale attention: a number per picture out of the pooled term. Offsets and mask of a
    level serve its three convolutions; those are of the level's resolution, and ``high`` needs ones of half of it.

    Args:
        in_channels: Channels of every level.
        out_channels: Channels of every level behind it, a multiple of `NORM_GROUPS`.
        high_level_offset: Where ``high`` takes them from: ``crop`` takes the upper left part; ``flat_prefix`` takes
            the first values in the order of memory, which is what checkpoints were trained with whose deformable
            convolution did not look at the shape.
        norm: Normalise behind each convolution.
        reduction: That of the dynamic ReLU.

    Raises:
        ValueError: The channels do not divide into the groups, or there is no such ``high_level_offset``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        high_level_offset: HighLevelOffset = "crop",
        norm: bool = True,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        if high_level_offset not in ("crop", "flat_prefix"):
            raise ValueError(f"high_level_offset is crop or flat_prefix, not {high_level_offset!r}")
        self.high_level_offset = high_level_offset
        self.spatial_conv_high = DyDCNv2(in_channels, out_channels, norm=norm)
        self.spatial_conv_mid = DyDCNv2(in_channels, out_channels, norm=norm)
        self.spatial_conv_low = DyDCNv2(in_channels, out_channels, stride=2, norm=norm)
        self.spatial_conv_offset = nn.Conv2d(in_channels, 3 * TAPS, 3, padding=1)
        self.scale_attn_module = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(out_channels, 1, 1), nn.ReLU(inplace=True), nn.Hardsigmoid()
        )
        self.task_attn_module = DyReLU(out_channels, reduction)
        nn.init.zeros_(self.spatial_conv_offset.weight)
        nn.init.zeros_(cast(Tensor, self.spatial_conv_offset.bias))
        score = cast(nn.Conv2d, self.scale_attn_module[1])
        nn.init.normal_(score.weight, 0, STD)
        nn.init.zeros_(cast(Tensor, score.bias))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Processes all levels.

        Args:
            levels: ``(n, in_channels, h, w)`` each, the finest first; each has half the sides of the one before,
                rounded up.

        Returns:
            The same with ``out_channels``.

        Raises:
            ValueError: The sides of a level are not half of those before.
        """
        return [self._level(levels, index) for index in range(len(levels))]

    def _level(self, levels: Sequence[Tensor], index: int) -> Tensor:
        """One level of the output."""
        x = levels[index]
        offset, mask = split_offsets(self.spatial_conv_offset(x), TAPS)
        terms = [self.spatial_conv_mid(x, offset, mask)]
        if index > 0:
            terms.append(self.spatial_conv_low(levels[index - 1], offset, mask))
        if index + 1 < len(levels):
            higher = levels[index + 1]
            size = (higher.shape[2], higher.shape[3])
            high = self.spatial_conv_high(higher, self._smaller(offset, size), self._smaller(mask, size))
            terms.append(functional.interpolate(high, x.shape[2:], mode="bilinear", align_corners=True))
        total = terms[0] * self.scale_attn_module(terms[0])
        for term in terms[1:]:
            total = total + term * self.scale_attn_module(term)
        return cast(Tensor, self.task_attn_module(total / len(terms)))

    def _smaller(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        """Offsets or mask of a level for the next one, ``(n, c, *size)``."""
        if self.high_level_offset == "crop":
            return values[:, :, : size[0], : size[1]]
        n, c = values.shape[:2]
        return values.reshape(n, -1)[:, : c * size[0] * size[1]].reshape(n, c, *size)


class DyHead(nn.Module):
    """Several blocks one behind the other; the paper has 6, at the edge 1 or 2 do.

    Args:
        in_channels: Channels of every level.
        out_channels: Channels of every level behind it.
        blocks: Number of blocks.
        high_level_offset: See `DyHeadBlock`.
        reduction: That of the dynamic ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        blocks: int = 6,
        high_level_offset: HighLevelOffset = "crop",
        reduction: int = 4,
    ) -> None:
        super().__init__()
        self.dyhead_blocks = nn.Sequential(
            *(
                DyHeadBlock(
                    in_channels if index == 0 else out_channels, out_channels, high_level_offset, reduction=reduction
                )
                for index in range(blocks)
            )
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Processes all levels, the finest first; see `DyHeadBlock.forward`."""
        return cast("list[Tensor]", self.dyhead_blocks(levels))


def _divisible(value: float, divisor: int) -> int:
    """The multiple of ``divisor`` nearest to a number of channels, at least one and not below nine tenths of it."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
