"""Chips of AutoFocus: the rectangles of a picture that the next pass sees enlarged.

Two ways from a map of FocusPixels to rectangles: the hulls of the paper, of any shape, and windows of one size for
engines of a fixed shape. Boxes are xyxy with exclusive ends; sizes are (height, width).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.errors import BadOption
from lineside.runtime.focus import STRIDE

__all__ = ["component_boxes", "cover_windows", "dilated", "focus_chips", "grown", "merged"]

Boxes = npt.NDArray[Any]
"""``(N, 4)`` xyxy."""
Cells = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def dilated(mask: Mask, size: int) -> Mask:
    """A mask grown by a square of ones.

    Args:
        mask: ``(h, w)``.
        size: Side of the square in cells; an even one reaches one cell further to the right and down.

    Raises:
        BadOption: The side is below 1.
    """
    if size < 1:
        raise BadOption(f"a dilation of {size} cells: the side of the square is at least 1")
    grown_mask = np.asarray(mask, np.bool_)
    before, after = (size - 1) // 2, size // 2
    for axis in (0, 1):
        length = grown_mask.shape[axis]
        padded = np.pad(grown_mask, [(after, before) if axis == other else (0, 0) for other in (0, 1)])
        shifts = [np.take(padded, np.arange(shift, shift + length), axis) for shift in range(size)]
        grown_mask = np.logical_or.reduce(shifts)
    return grown_mask


def component_boxes(mask: Mask) -> Cells:
    """Bounding boxes of the connected parts of a mask; cells that share a corner are connected.

    Runs of each row are joined with those of the row above, so the work grows with the number of runs.

    Args:
        mask: ``(h, w)``.

    Returns:
        ``(N, 4)`` xyxy in cells, sorted.
    """
    mask = np.asarray(mask, np.bool_)
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    above = 0  # first run of the row above that may still touch
    for run, (row, start, end) in enumerate(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True)):
        while above < run and (rows[above] < row - 1 or (rows[above] == row - 1 and ends[above] < start)):
            above += 1
        other = above
        while other < run and rows[other] == row - 1 and starts[other] <= end:
            parent[root(other)] = root(run)
            other += 1
    groups = np.array([root(run) for run in range(len(rows))], np.int64)
    return _hulls(np.stack([starts, rows, ends, rows + 1], 1).astype(np.int64), groups)


def grown(boxes: Boxes, least: int, grid: tuple[int, int]) -> Cells:
    """Boxes made at least so long on each side, around their centre, and shifted back onto the map.

    An odd rest goes to the left and above where the side is odd, else to the right and below, as in the authors'
    program.

    Args:
        boxes: ``(N, 4)`` xyxy in cells, on the map.
        least: Shortest side in cells; where the map is shorter, the whole of it.
        grid: Rows and columns of the map.
    """
    result = np.array(boxes, np.int64).reshape(-1, 4)
    for low, high, length in ((0, 2, grid[1]), (1, 3, grid[0])):
        side = result[:, high] - result[:, low]
        wanted = np.minimum(np.maximum(side, least), length)
        shift = np.where(wanted > side, wanted // 2 - side // 2, 0)
        start = np.clip(result[:, low] - shift, 0, length - wanted)
        result[:, low], result[:, high] = start, start + wanted
    return result


def merged(boxes: Boxes) -> Cells:
    """Boxes joined into the hull of each group that overlaps or touches, also at a corner, until none does any more.

    Args:
        boxes: ``(N, 4)`` xyxy, whole numbers.

    Returns:
        ``(M, 4)``, sorted; no two of them touch.
    """
    result = np.array(boxes, np.int64).reshape(-1, 4)
    while len(result):
        reaches = (result[:, None, :2] <= result[None, :, 2:]).all(2)
        group = np.argmax(reaches & reaches.T, axis=1)  # the first box that each one touches: at the latest itself
        before, result = len(result), _hulls(result, group)
        if len(result) == before:
            break
    return result


def focus_chips(
    scores: npt.NDArray[Any],
    *,
    threshold: float,
    dilation: int = 3,
    least: int = 16,
    stride: int = STRIDE,
    input_size: tuple[int, int] | None = None,
    scale: float = 1.0,
) -> npt.NDArray[np.float64]:
    """Chips of a focus map (algorithm 1 of the paper).

    Cells of at least the threshold are dilated; the bounding box of each connected part is grown to the shortest side;
    boxes that touch become their hull, until none does; then cells become pixels of the picture.

    Args:
        scores: ``(h, w)`` probabilities.
        threshold: Least score of a FocusPixel; compared in float32.
        dilation: Side of the dilating square in cells.
        least: Shortest side of a chip in cells.
        stride: Pixels of the network's input per cell.
        input_size: Height and width that chips are clipped to, in pixels of the network's input; that of the map
            when None.
        scale: Pixels of the network's input per pixel of the picture.

    Returns:
        ``(N, 4)`` xyxy in pixels of the picture, sorted; no two overlap.
    """
    scores = np.asarray(scores)
    grid = (scores.shape[0], scores.shape[1])
    focus = dilated(scores.astype(np.float32) >= np.float32(threshold), dilation)
    cells = merged(grown(component_boxes(focus), least, grid))
    height, width = input_size or (grid[0] * stride, grid[1] * stride)
    return np.minimum(cells * stride, [width, height, width, height]) / scale


def cover_windows(boxes: Boxes, image_size: tuple[int, int], window: tuple[int, int]) -> Cells:
    """Windows of one size that cover boxes: for engines of a fixed shape, in place of hulls of any shape.

    A box that is larger than the window is tiled, evenly. Every other window begins with the first box that is not yet
    covered, takes in those that enlarge the common hull least while the hull fits, and is centred on it.

    Args:
        boxes: ``(N, 4)`` xyxy in pixels of the picture, such as dilated components.
        image_size: Height and width of the picture.
        window: Height and width of the window in pixels of the picture; where the picture is smaller, windows are as
            long as the picture.

    Returns:
        ``(M, 4)`` xyxy inside the picture; each box is inside one of them, or inside the union of its tiles.
    """
    limit = np.array([image_size[1], image_size[0]])
    size = np.minimum([window[1], window[0]], limit)
    corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
    low = np.clip(np.floor(corners[:, 0]), 0, limit).astype(np.int64)
    high = np.clip(np.ceil(corners[:, 1]), 0, limit).astype(np.int64)
    real = (high > low).all(1)
    left = np.concatenate([low, high], 1)[real]
    left = left[np.lexsort((left[:, 0], left[:, 1]))]
    large = (left[:, 2:] - left[:, :2] > size).any(1)
    found = [tile for box in left[large] for tile in _tiles(box, limit, size)]
    left = _uncovered(left[~large], found)
    while len(left):
        hull = _absorbed(left, size)
        start = np.clip((hull[:2] + hull[2:] - size) // 2, 0, limit - size)
        found.append(np.concatenate([start, start + size]))
        left = _uncovered(left, found[-1:])
    return np.unique(np.array(found, np.int64).reshape(-1, 4), axis=0)


def _hulls(boxes: Cells, groups: Cells) -> Cells:
    """Bounding box of each group of boxes, sorted."""
    if not len(boxes):
        return np.zeros((0, 4), np.int64)
    names, member = np.unique(groups, return_inverse=True)
    hulls = np.empty((len(names), 4), np.int64)
    hulls[:, :2], hulls[:, 2:] = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    np.minimum.at(hulls[:, :2], member, boxes[:, :2])
    np.maximum.at(hulls[:, 2:], member, boxes[:, 2:])
    return np.asarray(hulls[np.lexsort(hulls.T[::-1])])


def _tiles(box: Cells, limit: npt.NDArray[Any], size: npt.NDArray[Any]) -> list[Cells]:
    """Windows that cover one large box, evenly spread."""
    starts = []
    for low, high, length, side in zip(box[:2], box[2:], limit, size, strict=True):
        count = -(-(high - low) // side)
        spare = count * side - (high - low)  # by so much the tiles are longer than the box, and overlap
        first = np.clip(low - (spare // 2 if count == 1 else 0), 0, length - side)
        last = np.clip(high - side, first, length - side)
        starts.append(np.linspace(first, last, count).astype(np.int64) if count > 1 else np.array([first]))
    return [np.array([x, y, x + size[0], y + size[1]], np.int64) for y in starts[1] for x in starts[0]]


def _absorbed(boxes: Cells, size: npt.NDArray[Any]) -> Cells:
    """Hull of the first box and of those others that can join it within the window, nearest first."""
    hull: Cells = boxes[0]
    others = boxes[1:]
    while len(others):
        joined = np.concatenate([np.minimum(others[:, :2], hull[:2]), np.maximum(others[:, 2:], hull[2:])], 1)
        sides = joined[:, 2:] - joined[:, :2]
        fits = (sides <= size).all(1)
        if not fits.any():
            break
        best = np.flatnonzero(fits)[np.argmin(sides[fits].prod(1))]
        hull, others = joined[best], np.delete(others, best, 0)
    return hull


def _uncovered(boxes: Cells, windows: list[Cells]) -> Cells:
    """Those boxes that lie in none of the windows."""
    for window in windows:
        boxes = boxes[~((boxes[:, :2] >= window[:2]) & (boxes[:, 2:] <= window[2:])).all(1)]
    return boxes
