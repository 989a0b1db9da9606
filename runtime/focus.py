"""AutoFocus: which parts of a picture deserve a second look, and how what is found there comes back.

A coarse pass says for each cell of its map (stride 16) how likely a small object lies there: FocusPixels. Cells above a
threshold become chips (`lineside.runtime.chips`), rectangles of the picture that the next pass sees enlarged; what a
chip cuts off at its sides is dropped, the rest is stacked into one list of detections (Najibi, Singh, Davis: AutoFocus,
ICCV 2019).

Boxes are xyxy with exclusive ends unless said otherwise; sizes are (height, width); everything is numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.errors import BadOption

__all__ = [
    "FOCUS",
    "IGNORED",
    "NOTHING",
    "REFERENCE_SIDE",
    "STRIDE",
    "FocusSizes",
    "focus_labels",
    "focus_scores",
    "in_range",
    "keep_whole",
    "stacked",
]

Boxes = npt.NDArray[Any]
"""``(N, 4)`` xyxy."""
Mask = npt.NDArray[np.bool_]

STRIDE = 16
"""Pixels of the network's input per cell of the focus map."""

NOTHING, FOCUS, IGNORED = 0, 1, -1
"""What a cell is taught: no small object, a small object, neither."""

REFERENCE_SIDE = 512
"""Longer side, in pixels, of the coarse input for which the paper chose its sizes."""


@dataclass(frozen=True)
class FocusSizes:
    """Which objects make FocusPixels, by ``s = sqrt(width * height)`` in pixels of the network's input.

    Attributes:
        a: Objects up to this size are ignored: nothing would be seen of them at any resolution.
        b: Above ``a`` and below this they are what a second look is for.
        c: From ``b`` to below this they are ignored; from here on the coarse pass is good enough, so nothing is marked.

    Raises:
        BadOption: Not ``0 <= a < b <= c``.
    """

    a: float = 5.0
    b: float = 64.0
    c: float = 90.0

    def __post_init__(self) -> None:
        if not 0 <= self.a < self.b <= self.c < float("inf"):
            raise BadOption(f"FocusPixel sizes a={self.a}, b={self.b}, c={self.c}: they must be 0 <= a < b <= c")

    def at(self, input_size: tuple[int, int], reference: float = REFERENCE_SIDE) -> FocusSizes:
        """The sizes for an input of another size.

        What a network can see depends on pixels, not on shares of the picture, so a large input keeps the sizes. An
        input below the reference would have almost everything in focus; there they shrink with its longer side.

        Args:
            input_size: Height and width of the network's input, px.
            reference: Longer side from which on the sizes are as stated, px; 0 keeps them at any size.
        """
        factor = min(1.0, max(input_size) / reference) if reference > 0 else 1.0
        return FocusSizes(self.a * factor, self.b * factor, self.c * factor)


def focus_labels(
    boxes: Boxes,
    grid: tuple[int, int],
    sizes: FocusSizes | None = None,
    stride: int = STRIDE,
    upstream_order: bool = False,
) -> npt.NDArray[np.int8]:
    """What each cell is taught (section 3.1 of the paper).

    A box reaches the cells ``int(x1 / stride)`` to ``ceil(x2 / stride)`` inclusive, rows alike, as far as they are on
    the map. Where boxes of different sizes meet, a focus label wins over an ignored one and that over nothing.

    Args:
        boxes: ``(N, 4)`` xyxy of all objects of a picture, in pixels of the network's input.
        grid: Rows and columns of the map.
        sizes: Which objects count; `FocusSizes` as they stand when None.
        stride: Pixels per cell.
        upstream_order: Where boxes meet, the later one wins, as in the authors' program.

    Returns:
        ``(rows, columns)`` of `FOCUS`, `IGNORED` and `NOTHING`.
    """
    sizes = sizes or FocusSizes()
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    labels = np.zeros(grid, np.int8)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    size = np.sqrt(sides[:, 0] * sides[:, 1])
    focus = (size > sizes.a) & (size < sizes.b)
    marked = np.flatnonzero(size < sizes.c)
    if not upstream_order:
        marked = np.concatenate([marked[~focus[marked]], marked[focus[marked]]])  # the last one written wins
    first = np.maximum(np.trunc(boxes[:, :2] / stride), 0).astype(np.int64)
    last = np.maximum(np.ceil(boxes[:, 2:] / stride) + 1, 0).astype(np.int64)
    for index in marked:
        (x1, y1), (x2, y2) = first[index], last[index]
        labels[y1:y2, x1:x2] = FOCUS if focus[index] else IGNORED
    return labels


def focus_scores(logits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Probabilities of the focus output of a model, which holds logits.

    Args:
        logits: ``(..., h, w)``, output ``focus`` of the head contract.

    Returns:
        Float32 of the same shape, 0 to 1.
    """
    value = np.asarray(logits, np.float32)
    small = np.exp(-np.abs(value))
    return np.where(value >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def stacked(boxes: Boxes, chips: Boxes, chip_index: npt.NDArray[Any], zoom: float = 1.0) -> npt.NDArray[np.float32]:
    """Boxes found in chips, as boxes of the picture.

    Args:
        boxes: ``(N, 4)`` xyxy in pixels of the enlarged chip.
        chips: ``(C, 4)`` xyxy in pixels of the picture.
        chip_index: ``(N,)``: in which chip each box was found.
        zoom: Pixels of the enlarged chip per pixel of the picture.

    Returns:
        ``(N, 4)`` float32 xyxy in pixels of the picture.
    """
    origin = np.asarray(chips, np.float64).reshape(-1, 4)[np.asarray(chip_index, np.int64)][:, [0, 1, 0, 1]]
    return (np.asarray(boxes, np.float64).reshape(-1, 4) / zoom + origin).astype(np.float32)


def keep_whole(
    boxes: Boxes, chips: Boxes, chip_index: npt.NDArray[Any], image_size: tuple[int, int], delta: float = 10.0
) -> Mask:
    """Which detections their chip did not cut off: none of their sides is near a side of the chip inside the picture.

    Args:
        boxes: ``(N, 4)`` xyxy in pixels of the picture, see `stacked`.
        chips: ``(C, 4)`` xyxy in pixels of the picture.
        chip_index: ``(N,)``: in which chip each box was found.
        image_size: Height and width of the picture.
        delta: Distance in pixels below which a side counts as cut.

    Returns:
        ``(N,)``, True for those to keep.
    """
    sides = np.asarray(chips, np.float64).reshape(-1, 4)
    end = np.array([image_size[1], image_size[0]], np.float64)
    inner = np.concatenate([sides[:, :2] >= 0.5, sides[:, 2:] < end - 0.5], 1)
    index = np.asarray(chip_index, np.int64)
    near = np.abs(np.asarray(boxes, np.float64).reshape(-1, 4) - sides[index]) < delta
    return np.asarray(~(near & inner[index]).any(1))


def in_range(boxes: Boxes, least: float = 0.0, most: float = float("inf")) -> Mask:
    """Which detections a pass is responsible for, by ``sqrt(area)``.

    Args:
        boxes: ``(N, 4)`` xyxy in pixels of the picture.
        least: Sizes above this, px.
        most: Sizes up to this, px.

    Returns:
        ``(N,)``.
    """
    sides = np.maximum(np.diff(np.asarray(boxes, np.float64).reshape(-1, 2, 2), axis=1)[:, 0], 0)
    area = sides[:, 0] * sides[:, 1]
    return np.asarray((area > least**2) & (area <= most**2))
