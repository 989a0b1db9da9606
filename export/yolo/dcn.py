"""Modulated deformable convolutions in a YOLO model."""

from __future__ import annotations

import copy
from typing import cast

from torch import Tensor, nn
from ultralytics.nn.modules.block import Bottleneck, C2f
from ultralytics.nn.modules.conv import Conv

from lineside.export.modules.deform_conv import DCNv2
from lineside.export.modules.folding import scale_and_shift

__all__ = ["C3k2_DCNv2", "DeformableBottleneck", "DeformableConv"]


class DeformableConv(nn.Module):
    """A modulated deformable 3x3 convolution that makes its own offsets, BatchNorm, and the activation of the model.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        deform_groups: Groups of input channels with offsets and masks of their own.
    """

    def __init__(self, c1: int, c2: int, deform_groups: int = 1) -> None:
        super().__init__()
        self.dcn = DCNv2(c1, c2, 3, deform_groups=deform_groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(c2)
        self.act = Conv.default_act

    def forward(self, x: Tensor) -> Tensor:
        """Computes it for ``(n, c1, h, w)``."""
        return cast(Tensor, self.act(self.norm(self.dcn(x))))

    def deployed(self) -> DeformableConv:
        """The same function with the BatchNorm folded into weight and bias of the deformable convolution."""
        twin = copy.deepcopy(self)
        conv = twin.dcn.conv
        scale, shift = scale_and_shift(cast(nn.BatchNorm2d, self.norm))
        conv.weight = nn.Parameter((conv.weight.double() * scale[:, None, None, None]).to(conv.weight.dtype))
        conv.bias = nn.Parameter(shift.to(conv.weight.dtype))
        twin.norm = nn.Identity()
        return twin


class DeformableBottleneck(Bottleneck):
    """A bottleneck whose second convolution is a `DeformableConv`.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        shortcut: Add the input to the output, where they have the same channels.
        e: Channels between the convolutions, as a part of ``c2``.
        deform_groups: Groups of input channels with offsets and masks of their own.
    """

    def __init__(self, c1: int, c2: int, shortcut: bool = True, e: float = 0.5, deform_groups: int = 1) -> None:
        super().__init__(c1, c2, shortcut, e=e)
        self.cv2 = DeformableConv(int(c2 * e), c2, deform_groups)


class C3k2_DCNv2(C2f):  # noqa: N801 - the name in model yamls
    """A C3k2 whose bottlenecks are `DeformableBottleneck`.

    Row: ``[-1, repeats, C3k2_DCNv2, [channels, e, deform_groups]]``.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        n: Number of bottlenecks.
        e: Channels of a bottleneck as a share of ``c2``.
        deform_groups: Groups of channels with offsets and masks of their own.
        shortcut: Whether bottlenecks add their input.

    Raises:
        ValueError: ``e`` is a flag, as in rows of a C3k2.
    """

    lineside_args = ("c1", "c2", "n")

    def __init__(
        self, c1: int, c2: int, n: int = 1, e: float = 0.5, deform_groups: int = 1, shortcut: bool = True
    ) -> None:
        if isinstance(e, bool):
            raise ValueError(f"e is a share of the channels, not {e}; a C3k2_DCNv2 has no flag c3k")
        super().__init__(c1, c2, n, shortcut, e=e)
        self.m = nn.ModuleList(
            DeformableBottleneck(self.c, self.c, shortcut, deform_groups=deform_groups) for _ in range(n)
        )
