"""Average precision from matches, for any number of redrawn sets of pictures at once.

The matches come from pycocotools; what is counted here is what its ``accumulate`` counts: precision made falling, read
at 101 recalls (COCO's definition, Lin et al., "Microsoft COCO: Common Objects in Context", 2014, and its evaluation
code). A picture that was drawn twice counts twice, one that was not drawn counts nothing, and nothing is matched anew:
a match concerns one picture only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["RECALLS", "Curve", "average_precision"]

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which precision is read."""

CELLS = 4_000_000
"""Numbers that one step holds at a time."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Matches of one class, all pictures together.

    Attributes:
        pictures: ``(D,)`` int: the picture of each detection, best score first.
        hits: ``(T, D)`` bool: at each IoU threshold, whether it found an object.
        ignored: ``(T, D)`` bool: whether it counts for nothing, neither as a hit nor as a miss.
        objects: ``(I,)`` int: objects of the class in each picture.
    """

    pictures: npt.NDArray[np.int64]
    hits: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]
    objects: npt.NDArray[np.int64]


def average_precision(curve: Curve, draws: npt.NDArray[np.int64]) -> Floats:
    """Average precision at every IoU threshold.

    Args:
        curve: Matches of one class.
        draws: ``(B, I)``: how often each picture was drawn, for each of B sets.

    Returns:
        ``(B, T)``; NaN for a set without an object of the class.
    """
    step = max(1, CELLS // max(1, len(curve.pictures)))
    parts = [_step(curve, draws[start : start + step]) for start in range(0, len(draws), step)]
    return np.concatenate(parts) if parts else np.empty((0, len(curve.hits)))


def _step(curve: Curve, draws: npt.NDArray[np.int64]) -> Floats:
    """The same for as many sets as are held at a time."""
    objects = (draws @ curve.objects).astype(np.float64)
    weights = draws[:, curve.pictures].astype(np.float64)
    counted = None if curve.ignored.any() else np.cumsum(weights, axis=1)
    result = np.empty((len(draws), len(curve.hits)))
    for index, (hits, ignored) in enumerate(zip(curve.hits, curve.ignored, strict=True)):
        total = np.cumsum(weights * ~ignored, axis=1) if counted is None else counted
        at = np.flatnonzero(hits & ~ignored)
        result[:, index] = _area(np.cumsum(weights[:, at], axis=1), total[:, at], objects)
    result[objects == 0] = np.nan
    return result


def _area(found: Floats, total: Floats, objects: Floats) -> Floats:
    """Mean of the falling precision over `RECALLS`.

    Only at a hit does recall grow, and the precision before a hit is never above the one at the hit that comes before
    or at it, so that the hits alone make the curve.

    Args:
        found: ``(B, P)``: objects found up to each hit.
        total: ``(B, P)``: detections up to each hit.
        objects: ``(B,)``: objects there are.
    """
    if not found.shape[1]:
        return np.zeros(len(found))
    precision = found / (total + np.spacing(1))
    falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    with np.errstate(invalid="ignore"):
        recall = found / objects[:, None]
    # A hit gives its precision to every recall that it is the first to reach.
    reached = np.searchsorted(RECALLS, recall, side="right")
    first = np.diff(reached, axis=1, prepend=0)
    area: Floats = (falling * first).sum(axis=1) / len(RECALLS)
    return area
