"""Level 2 of the gate: boxes, scores and classes of the best anchors, whatever their score.

Both sides pick their best anchors on their own and are matched by anchor index. Two anchors of nearly the same score
may take each other's place at the end of the list, and two classes of nearly the same score may swap within an anchor;
both are forgiven within ``Budget.tie``, measured in logits so that it means the same for an untrained model, or within
``Budget.tie_score``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from lineside.export.parity.budget import Budget
from lineside.export.parity.reference import Seen
from lineside.export.parity.result import AnchorMeasure
from lineside.runtime.detections import Detections

__all__ = ["compare_anchors", "logit"]

Array = npt.NDArray[np.float64]


def logit(probability: Array | np.float64) -> Array:
    """Inverse of the sigmoid, finite at 0 and 1."""
    p = np.clip(np.asarray(probability, np.float64), 1e-30, 1 - 1e-16)
    return np.asarray(np.log(p) - np.log1p(-p))


def compare_anchors(found: Detections, seen: Seen, budget: Budget) -> AnchorMeasure:
    """Compares the best anchors of one picture.

    Args:
        found: The bundle's best anchors: decoded with conf 0 and without suppression, any number of them.
        seen: Torch's view of the same picture.
        budget: Says what a near-tie is.

    Returns:
        The measure.
    """
    scores: Array = seen.scores.numpy()
    best: Array = scores.max(axis=1)
    count = min(len(found), len(best))
    anchors = np.asarray(found.anchors, np.int64)[:count]
    order = np.argsort(-best, kind="stable")
    cut = best[order[count - 1]] if count else np.float64(np.inf)
    mine = np.zeros(len(best), bool)
    mine[anchors] = True
    missing = int(np.count_nonzero(~mine[order[:count]] & _clearly_above(best[order[:count]], cut, budget)))
    added = int(np.count_nonzero(_clearly_above(cut, best[anchors], budget)))
    classes = np.asarray(found.classes, np.int64)[:count]
    chosen: Array = scores[anchors, classes]
    boxes = np.abs(np.asarray(found.boxes, np.float64)[:count] - seen.boxes.numpy()[anchors])
    score = np.abs(np.asarray(found.scores, np.float64)[:count] - chosen)
    return AnchorMeasure(
        compared=count,
        missing=missing,
        added=added,
        class_differs=int(np.count_nonzero(_clearly_above(best[anchors], chosen, budget) | np.isnan(chosen))),
        box_px=_greatest(boxes),
        score=_greatest(score),
        best_score=float(torch.max(seen.scores)),
    )


def _clearly_above(high: Array | np.float64, low: Array | np.float64, budget: Budget) -> npt.NDArray[np.bool_]:
    """Where one score is above another by more than a near-tie."""
    above = np.asarray(logit(high) > logit(low) + budget.tie)
    return np.asarray(above & (high > low + budget.tie_score), np.bool_)


def _greatest(values: Array) -> float:
    """The greatest value; infinity where there is none."""
    return float(values.max()) if values.size else float("inf")
