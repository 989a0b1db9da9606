"""AutoFocus once more, cell by cell: what `lineside.runtime.focus` and `lineside.runtime.chips` are compared with."""

from __future__ import annotations

import math

import numpy as np

Cell = tuple[int, int]


def labels(boxes: np.ndarray, grid: Cell, a: float, b: float, c: float, stride: int, last_wins: bool) -> np.ndarray:
    """Asks every cell which boxes reach it."""
    result = np.zeros(grid, int)
    for row in range(grid[0]):
        for column in range(grid[1]):
            kinds = []
            for x1, y1, x2, y2 in boxes.tolist():
                across = math.trunc(x1 / stride) <= column <= math.ceil(x2 / stride)
                down = math.trunc(y1 / stride) <= row <= math.ceil(y2 / stride)
                size = math.sqrt((x2 - x1) * (y2 - y1))
                if across and down and size < c:
                    kinds.append(1 if a < size < b else -1)
            if kinds:
                result[row, column] = kinds[-1] if last_wins else max(kinds)
    return result


def chips(
    scores: np.ndarray, threshold: float, dilation: int, least: int, stride: int, size: Cell, scale: float
) -> list[list[float]]:
    """Paints boxes into the mask until their number no longer changes."""
    mask = _dilated(scores >= np.float32(threshold), dilation)
    count = -1
    while True:
        boxes = parts(mask)
        if len(boxes) == count:
            break
        count = len(boxes)
        for x1, y1, x2, y2 in boxes:
            x1, x2 = _long_enough(x1, x2, least, mask.shape[1])
            y1, y2 = _long_enough(y1, y2, least, mask.shape[0])
            mask[y1:y2, x1:x2] = True
    limit = (size[1], size[0], size[1], size[0])
    return sorted([min(v * stride, end) / scale for v, end in zip(box, limit, strict=True)] for box in boxes)


def parts(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Bounding boxes of the connected parts, corners included, by flooding; sorted."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    boxes = []
    while left:
        start = left.pop()
        part, front = [start], [start]
        while front:
            y, x = front.pop()
            for near in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    part.append(near)
                    front.append(near)
        rows, columns = [y for y, _ in part], [x for _, x in part]
        boxes.append((min(columns), min(rows), max(columns) + 1, max(rows) + 1))
    return sorted(boxes)


def keeps(box: list[float], chip: list[float], image: Cell, delta: float) -> bool:
    """Whether no side of a box is near a side of its chip that lies inside the picture."""
    height, width = image
    for side, (found, edge) in enumerate(zip(box, chip, strict=True)):
        on_border = (edge < 0.5, edge < 0.5, edge >= width - 0.5, edge >= height - 0.5)[side]
        if not on_border and abs(found - edge) < delta:
            return False
    return True


def _dilated(mask: np.ndarray, size: int) -> np.ndarray:
    result = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        for row in range(y - (size - 1) // 2, y + size // 2 + 1):
            for column in range(x - (size - 1) // 2, x + size // 2 + 1):
                if 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]:
                    result[row, column] = True
    return result


def _long_enough(low: int, high: int, least: int, length: int) -> Cell:
    if high - low >= least:
        return low, high
    start = low + (high - low) // 2 - least // 2
    start = max(0, min(start, length - least))
    return start, min(start + least, length)
