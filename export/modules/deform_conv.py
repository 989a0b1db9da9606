"""Modulated deformable convolution as a layer.

Equation 2 of Zhu et al., "Deformable ConvNets v2: More Deformable, Better Results" (2019). The computation itself is the
operator `lineside.export.ops.mod_deform_conv2d.ModDeformConv2d`.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from lineside.export.ops.emit import call
from lineside.export.ops.mod_deform_conv2d import ModDeformConv2d, Pair

__all__ = ["DCNv2", "ModulatedDeformConv2d", "split_offsets"]


def split_offsets(raw: Tensor, taps: int, deform_groups: int = 1) -> tuple[Tensor, Tensor]:
    """Offsets and mask out of what one convolution gives for both.

    Args:
        raw: ``(n, 3 * deform_groups * taps, h, w)``: first all offsets, then what the mask is made of.
        taps: Taps of the kernel.
        deform_groups: Groups of channels with offsets of their own.

    Returns:
        Offsets ``(n, 2 * deform_groups * taps, h, w)`` in pixels, for each tap dy and dx; and the mask
        ``(n, deform_groups * taps, h, w)`` between 0 and 1.
    """
    channels = 2 * deform_groups * taps
    return raw[:, :channels], raw[:, channels:].sigmoid()


class ModulatedDeformConv2d(nn.Module):
    """A convolution whose taps are moved and weighted at each place.

    Args:
        in_channels: Channels of the input; a multiple of ``groups`` and of ``deform_groups``.
        out_channels: Channels of the output; a multiple of ``groups``.
        kernel: Taps, one number or (height, width).
        stride: Step.
        padding: Zeros around the input.
        dilation: Distance between taps.
        groups: Groups of the convolution.
        deform_groups: Groups of input channels with offsets and masks of their own.
        bias: Add a bias.

    Attributes:
        weight: ``(out_channels, in_channels / groups, kh, kw)``, uniform within 1 / sqrt(fan in) at the start.
        bias: ``(out_channels)``, zero at the start; None without.

    Raises:
        ValueError: The channels do not divide into the groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Pair = 3,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups or in_channels % deform_groups:
            raise ValueError(
                f"{in_channels} channels to {out_channels} do not divide into {groups} groups and {deform_groups} "
                "deform groups"
            )
        self.op = ModDeformConv2d(_pair(kernel), _pair(stride), _pair(padding), _pair(dilation), groups, deform_groups)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.op.kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Convolves.

        Args:
            x: ``(n, in_channels, h, w)``.
            offset: ``(n, 2 * deform_groups * taps, oh, ow)`` in pixels of x; for each tap dy, then dx.
            mask: ``(n, deform_groups * taps, oh, ow)``, multiplied as it is.

        Returns:
            ``(n, out_channels, oh, ow)``, where ``oh`` and ``ow`` are those of a plain convolution.

        Raises:
            ValueError: Offsets or mask are not of the output's size.
        """
        wanted = self.op.shapes(tuple(x.shape), (), (), tuple(self.weight.shape))[0][2:]
        if not torch.onnx.is_in_onnx_export() and not wanted == offset.shape[2:] == mask.shape[2:]:
            raise ValueError(
                f"the output is {tuple(wanted)}, the offsets are {tuple(offset.shape[2:])} and the mask is "
                f"{tuple(mask.shape[2:])}"
            )
        return cast(Tensor, call(self.op, x, offset, mask, self.weight, *([] if self.bias is None else [self.bias])))

    def extra_repr(self) -> str:
        """Configuration, by the name of the operator."""
        return f"{self.weight.shape[1] * self.op.groups}, {len(self.weight)}, {self.op.name}"


class DCNv2(nn.Module):
    """A modulated deformable convolution that makes its own offsets and mask with a plain convolution beside it.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Taps, one number or (height, width).
        stride: Step.
        padding: Zeros around the input; what keeps the resolution at stride 1 when None.
        dilation: Distance between taps.
        groups: Groups of the convolution.
        deform_groups: Groups of input channels with offsets and masks of their own.
        bias: Add a bias.

    Attributes:
        conv_offset: Gives offsets and mask; zero at the start, so that training begins at a plain convolution of half
            strength (a mask of 0.5 everywhere), as in the paper.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Pair = 3,
        stride: int | Pair = 1,
        padding: int | Pair | None = None,
        dilation: int | Pair = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        (kh, kw), (dy, dx) = _pair(kernel), _pair(dilation)
        around = (kh // 2 * dy, kw // 2 * dx) if padding is None else _pair(padding)
        self.conv = ModulatedDeformConv2d(
            in_channels, out_channels, kernel, stride, around, dilation, groups, deform_groups, bias
        )
        self.conv_offset = nn.Conv2d(
            in_channels, 3 * deform_groups * kh * kw, (kh, kw), _pair(stride), around, _pair(dilation)
        )
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(cast(Tensor, self.conv_offset.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Convolves ``(n, in_channels, h, w)`` to ``(n, out_channels, oh, ow)``."""
        op = self.conv.op
        return cast(Tensor, self.conv(x, *split_offsets(self.conv_offset(x), op.taps, op.deform_groups)))


def _pair(value: int | Pair) -> Pair:
    """Height and width."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
