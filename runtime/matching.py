"""Which of the detections found is which of those recorded; pure functions over rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineside.runtime.detections import Detections
from lineside.runtime.golden import Golden
from lineside.runtime.ties import Candidates

__all__ = ["counterparts", "golden_pairs", "nearest_candidates", "same_anchors"]

Tensor = npt.NDArray[np.float32]


def golden_pairs(golden: Golden, found: Detections, within: float = np.inf) -> list[tuple[int, int]]:
    """Each golden detection with the nearest unused one of its class, by falling score.

    Args:
        golden: The golden file.
        found: The replay.
        within: No side of the two boxes may be further apart, picture px.

    Returns:
        Pairs of a row of `golden` and one of `found`.
    """
    free = set(range(len(found)))
    pairs = []
    for index, (box, kind) in enumerate(zip(golden.boxes, golden.classes, strict=True)):
        rivals = [other for other in free if found.classes[other] == kind]
        if not rivals:
            continue
        nearest = min(rivals, key=lambda other: float(np.abs(found.boxes[other] - box).max()))
        if np.abs(found.boxes[nearest] - box).max() > within:
            continue
        free.remove(nearest)
        pairs.append((index, nearest))
    return pairs


def same_anchors(candidates: Candidates, found: Detections) -> list[tuple[int, int]]:
    """Each detection with the candidate of its anchor and class; each of them once.

    Returns:
        Pairs of a row of `candidates` and one of `found`.
    """
    listed = {pair: row for row, pair in enumerate(zip(candidates.anchors, candidates.classes, strict=True))}
    pairs = [(listed.pop(pair, None), i) for i, pair in enumerate(zip(found.anchors, found.classes, strict=True))]
    return [(row, index) for row, index in pairs if row is not None]


def nearest_candidates(candidates: Candidates, found: Detections) -> list[tuple[int, int]]:
    """Each detection with the nearest unused candidate of its class, by falling score: rows have no anchor.

    Returns:
        Pairs of a row of `candidates` and one of `found`.
    """
    free = np.ones(len(candidates.scores), np.bool_)
    pairs = []
    for index, (box, kind) in enumerate(zip(found.boxes, found.classes, strict=True)):
        far = np.abs(candidates.boxes.astype(np.float64) - box).max(axis=1)
        far[~free | (candidates.classes != kind)] = np.inf
        if len(far) and np.isfinite(far.min()):
            free[np.argmin(far)] = False
            pairs.append((int(np.argmin(far)), index))
    return pairs


def counterparts(rows: npt.NDArray[np.float16], found: Tensor) -> Tensor:
    """For each row of an end-to-end head the nearest one found, of its class while there is one, each taken once.

    Rows are sorted by score, and two of nearly the same score may take each other's place on another machine. At the
    end of the list one may even be missing, so only the better half is compared, with all that were found.

    Args:
        rows: ``(N, 6 + M)`` x1, y1, x2, y2, score, class and coefficients, as recorded.
        found: ``(K, 6 + M)`` the same of the replay, with K not below N.

    Returns:
        ``(N, 6 + M)`` rows of `found`, in the order of `rows`.
    """
    chosen = np.empty(len(rows), np.int64)
    free = np.ones(len(found), np.bool_)
    for index, row in enumerate(rows.astype(np.float32)):
        far = np.abs(found - row).sum(axis=1) + 1e9 * (found[:, 5] != row[5])
        chosen[index] = np.argmin(np.where(free, far, np.inf))
        free[chosen[index]] = False
    return found[chosen]
