"""Boundary F: how well the outlines of two masks lie on each other.

The measure of Csurka et al., "What is a good evaluation measure for semantic segmentation?" (BMVC 2013), as DAVIS uses
it (Perazzi et al., CVPR 2016): a boundary pixel counts as right when the other mask has one within a distance d, and F is
the harmonic mean of the right shares of both, ``2 P R / (P + R)``. DAVIS takes d from the picture's diagonal, which is
more than the whole width of a small defect; here d is given in pixels of the picture, the unit in which parts are
measured. Boundary pixels are those of the mask with one of their four neighbours outside it. The border of the picture is
no boundary: where it cuts an object off, nobody has estimated anything.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineside.runtime.masks import Mask

__all__ = ["DISTANCES", "boundary", "boundary_f"]

DISTANCES = (1.0, 2.0)
"""Distances d that are reported, px."""

Table = npt.NDArray[np.bool_]


def boundary(mask: Table) -> Table:
    """Boundary pixels of a mask.

    Args:
        mask: ``(H, W)`` bool, the whole picture.

    Returns:
        ``(H, W)`` bool.
    """
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: Table = mask & ~inside
    return edge


def boundary_f(one: Mask, other: Mask, distance: float) -> float:
    """Boundary F of two masks of the same picture.

    Args:
        one: A mask.
        other: Another one.
        distance: How far apart two boundary pixels may be, px, between their centres.

    Returns:
        0 to 1; 1 where neither has a boundary, 0 where only one has.
    """
    reach = int(distance)
    first, second = (boundary(table) for table in _window(one, other, reach + 1))
    if not first.any() or not second.any():
        return float(first.any() == second.any())
    precision = float((first & _grown(second, distance)).sum() / first.sum())
    recall = float((second & _grown(first, distance)).sum() / second.sum())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _window(one: Mask, other: Mask, margin: int) -> tuple[Table, Table]:
    """Both masks in the part of the picture around them, so that its cost is that of the object.

    The window ends at the picture's border, or at least a pixel outside both masks.
    """
    height, width = one.image_size
    crops = [mask.crop() for mask in (one, other)]
    spans = [(x, y, x + table.shape[1], y + table.shape[0]) for x, y, table in crops if table.size]
    if not spans:
        return np.zeros((1, 1), bool), np.zeros((1, 1), bool)
    left, top = (max(0, min(span[axis] for span in spans) - margin) for axis in (0, 1))
    right = min(width, max(span[2] for span in spans) + margin)
    bottom = min(height, max(span[3] for span in spans) + margin)
    tables = []
    for x, y, crop in crops:
        table = np.zeros((bottom - top, right - left), bool)
        if crop.size:
            table[y - top : y - top + crop.shape[0], x - left : x - left + crop.shape[1]] = crop
        tables.append(table)
    return tables[0], tables[1]


def _grown(table: Table, distance: float) -> Table:
    """Pixels within a distance of those that are set."""
    reach = int(distance)
    height, width = table.shape
    padded = np.pad(table, reach)
    result = np.zeros_like(table)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dx * dx + dy * dy <= distance * distance:
                result |= padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
    return result
