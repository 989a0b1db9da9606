"""The context guided blocks of CGNet in a YOLO model."""

from __future__ import annotations

from torch import nn
from ultralytics.nn.modules.block import C2f

from lineside.export.modules.cgnet import ContextGuidedBlock, ContextGuidedDown, Residual

__all__ = ["C3k2_CG", "CGDown", "usual_reduction"]

STAGE_2 = 64
NARROW_REDUCTION, WIDE_REDUCTION = 8, 16


class C3k2_CG(C2f):  # noqa: N801 - named as the community names such blocks
    """A C3k2 whose bottlenecks are `ContextGuidedBlock`.

    Row: ``[-1, repeats, C3k2_CG, [channels, dilation, reduction, e]]``.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        n: Number of blocks.
        dilation: Of the convolution that sees the surroundings.
        reduction: Of the weighing by the whole map; that of the published network when None, see `usual_reduction`.
        e: Channels of a block as a share of ``c2``.
        residual: Where a block adds its input.
    """

    lineside_args: tuple[str, ...] = ("c1", "c2", "n")

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        dilation: int = 2,
        reduction: int | None = None,
        e: float = 0.5,
        residual: Residual = "global",
    ) -> None:
        super().__init__(c1, c2, n, e=e)
        if dilation < 1:
            raise ValueError(f"a dilation is at least 1, not {dilation}")
        reduction = reduction or usual_reduction(self.c)
        self.m = nn.ModuleList(
            ContextGuidedBlock(self.c, self.c, dilation, reduction, residual=residual) for _ in range(n)
        )


class CGDown(ContextGuidedDown):
    """The context guided block that halves the resolution, in the place of a convolution with stride 2.

    Row: ``[-1, 1, CGDown, [channels, {dilation: 2}]]``.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        dilation: Of the convolution that sees the surroundings.
        reduction: Of the weighing by the whole map; that of the published network when None, see `usual_reduction`.
    """

    lineside_args = ("c1", "c2")

    def __init__(self, c1: int, c2: int, dilation: int = 2, reduction: int | None = None) -> None:
        super().__init__(c1, c2, dilation, reduction or usual_reduction(c2))


def usual_reduction(channels: int) -> int:
    """Reduction of a block with so many channels: 8 up to 64, as in the second stage of CGNet, 16 beyond, as in its third.

    Where that leaves no channel, the largest that leaves one.
    """
    return min(NARROW_REDUCTION if channels <= STAGE_2 else WIDE_REDUCTION, channels)
