"""Blocks under the names and with the rows that other people's model yamls have for them.

Only where the block is the same thing. Their C3k2 variants have rows ``[channels, c3k, e]`` like ultralytics' own C3k2;
with ``c3k`` (which the scales m, l and x switch on) the blocks are wrapped into one more split, and that is another block.
"""

from __future__ import annotations

from lineside.export.yolo.cg import C3k2_CG, CGDown
from lineside.export.yolo.unireplk import C3k2_UniRepLK

__all__ = ["C3k2_ContextGuided", "C3k2_UniRepLKNetBlock", "ContextGuidedBlock_Down"]

WITH_C3K = frozenset("mlx")
"""Scales at which such rows are read as if they said ``c3k``."""


class C3k2_UniRepLKNetBlock(C3k2_UniRepLK):  # noqa: N801 - the community's name
    """A C3k2 of UniRepLKNet blocks with four times the channels in their feed-forward part.

    Row: ``[-1, repeats, C3k2_UniRepLKNetBlock, [channels, False, e]]``.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        n: Number of blocks.
        scale: Letter of the model's scale.
        c3k: Must be False.
        e: Channels of a block as a share of ``c2``.
        kernel: Side of the depth-wise kernel.

    Raises:
        ValueError: ``c3k`` is set, by the row or by the scale.
    """

    lineside_args = ("c1", "c2", "n", "scale")

    def __init__(
        self, c1: int, c2: int, n: int = 1, scale: str = "n", c3k: bool = False, e: float = 0.5, kernel: int = 7
    ) -> None:
        _without_c3k(c3k, scale, "C3k2_UniRepLK")
        super().__init__(c1, c2, n, kernel, 4.0, e)


class C3k2_ContextGuided(C3k2_CG):  # noqa: N801 - the community's name
    """A C3k2 of context guided blocks with dilation 2 and reduction 16.

    Row: ``[-1, repeats, C3k2_ContextGuided, [channels, False, e]]``.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        n: Number of blocks.
        scale: Letter of the model's scale.
        c3k: Must be False.
        e: Channels of a block as a share of ``c2``.

    Raises:
        ValueError: ``c3k`` is set, by the row or by the scale.
    """

    lineside_args = ("c1", "c2", "n", "scale")

    def __init__(self, c1: int, c2: int, n: int = 1, scale: str = "n", c3k: bool = False, e: float = 0.5) -> None:
        _without_c3k(c3k, scale, "C3k2_CG")
        super().__init__(c1, c2, n, dilation=2, reduction=16, e=e)


class ContextGuidedBlock_Down(CGDown):  # noqa: N801 - the community's name
    """The context guided block that halves the resolution, with dilation 2 and reduction 16.

    Row: ``[-1, 1, ContextGuidedBlock_Down, [channels]]``.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        dilation: Of the convolution that sees the surroundings.
        reduction: Of the weighing by the whole map.
    """

    def __init__(self, c1: int, c2: int, dilation: int = 2, reduction: int = 16) -> None:
        super().__init__(c1, c2, dilation, reduction)


def _without_c3k(c3k: bool, scale: str, ours: str) -> None:
    """Raises ValueError where the community's name stands for another block than ours."""
    if c3k is not False or scale in WITH_C3K:
        raise ValueError(
            f"with c3k, which is {c3k!r} here and on at the scales m, l and x, the community's block is another one; "
            f"take {ours}, which has no such flag"
        )
