"""What rounding decides: which of several detections stays where the model itself puts them on a par.

A model that was hardly trained answers a plain background with one score and one box, shifted from anchor to anchor:
hundreds of anchors whose logits differ by 1e-7 and whose boxes overlap by more than the threshold. Which of them
suppresses which is then no property of the model: two processors, and torch and onnxruntime on one, round the last bit
differently and keep other anchors, and another number of them. A replay that asks for the very anchors that torch kept
would call that a fault. So the golden file of such a picture lists every candidate that may stay, and a replay is held
to the rules of suppression over these candidates (`contradiction`), which are the same as strict wherever scores and
overlaps are clear:

* nothing is found that is no candidate, under its anchor and class;
* of two candidates that exclude each other (IoU clearly above the threshold in one class, or one anchor) one is found;
* a candidate that is clearly above the score threshold is found, or one is found that may have suppressed it: that
  overlaps it and whose score is not clearly below. Where two classes of an anchor are on a par, one of the two will do.

**Clearly** means by more than `TIE` in logits and `TIE_SCORE` times the score, and by more than `TIE_OVERLAP` in IoU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "MOST_CANDIDATES",
    "TIE",
    "TIE_OVERLAP",
    "TIE_SCORE",
    "Candidates",
    "clearly_above",
    "contradiction",
    "excluding",
    "may_suppress",
]

TIE = 1e-3
"""Logits closer than this are on a par: what the parity gate forgives in the order of two anchors. Float32 graphs differ
by 1e-6 to 1e-4; a model that was shifted, scaled or quantised differs by more than 1e-2."""

TIE_SCORE = 5e-7
"""Scores closer than this share of themselves are on a par as well: a few times the rounding of a float32 near 1, where
logits are no measure."""

TIE_OVERLAP = 1e-3
"""IoUs closer than this to the threshold may fall on either side: a side of 8 px that is off by 0.004 px; float32
graphs differ by 1e-4 px."""

MOST_CANDIDATES = 2048
"""More candidates than this are not listed: every pair of them is looked at."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Candidates:
    """Every detection that may be found in a picture, whichever way rounding falls.

    Attributes:
        anchors: ``(M,)`` int32: which anchor of the head; the number of the row for an end-to-end head.
        classes: ``(M,)`` int32; an anchor is listed once per class that may be its best.
        scores: ``(M,)`` float32.
        boxes: ``(M, 4)`` float32 xyxy in picture pixels, clipped.
        input_boxes: ``(M, 4)`` float32 xyxy in input pixels, not clipped: those whose overlap counts.
        rle: COCO run lengths of each mask; None for a model without masks.
    """

    anchors: npt.NDArray[np.int32]
    classes: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    input_boxes: npt.NDArray[np.float32]
    rle: tuple[str, ...] | None


def clearly_above(high: npt.ArrayLike, low: npt.ArrayLike) -> Bools:
    """Where one score is above another by more than rounding.

    Args:
        high: Probabilities of any shape.
        low: Probabilities of a shape that fits.
    """
    p, q = np.asarray(high, np.float64), np.asarray(low, np.float64)
    return np.asarray((_logit(p) > _logit(q) + TIE) & (p > q * (1 + TIE_SCORE)), np.bool_)


def excluding(
    anchors: npt.NDArray[np.integer],
    classes: npt.NDArray[np.integer],
    input_boxes: npt.NDArray[np.floating],
    iou: float,
    *,
    surely: bool,
    final: bool,
) -> Bools:
    """Which of several candidates cannot both stay.

    Args:
        anchors: ``(M,)``; two rows of one anchor are two classes that it may have.
        classes: ``(M,)``.
        input_boxes: ``(M, 4)`` xyxy in input pixels, not clipped.
        iou: Overlap threshold.
        surely: True for those that certainly exclude each other, False for those that may.
        final: They are detections already, and overlap as they like (an end-to-end head).

    Returns:
        ``(M, M)``, symmetric, False on the diagonal.
    """
    same = anchors[:, None] == anchors[None]
    if not final:
        least = iou + TIE_OVERLAP if surely else iou - TIE_OVERLAP
        same = same | ((classes[:, None] == classes[None]) & (_overlaps(input_boxes) > least))
    return np.asarray(same & ~np.eye(len(anchors), dtype=np.bool_), np.bool_)


def may_suppress(excluding: Bools, scores: npt.NDArray[np.floating]) -> Bools:
    """``[i, j]``: candidate i may take the place of candidate j.

    Args:
        excluding: ``(M, M)``, of those that may exclude each other.
        scores: ``(M,)``.
    """
    return np.asarray(excluding & ~clearly_above(scores[None], scores[:, None]), np.bool_)


def contradiction(candidates: Candidates, found: Bools, conf: float, iou: float, *, final: bool) -> str:
    """Says why no rounding explains what was found.

    Args:
        candidates: Everything that may be found.
        found: ``(M,)``: which of them was.
        conf: Score threshold.
        iou: Overlap threshold.
        final: They are detections already (an end-to-end head).

    Returns:
        The reason, in words; empty where the rules of suppression hold.
    """
    parts = candidates.anchors, candidates.classes, candidates.input_boxes
    double = excluding(*parts, iou, surely=True, final=final)[np.ix_(found, found)]
    if double.any():
        return f"{int(double.any(1).sum())} of the detections found should have suppressed each other"
    answered = may_suppress(excluding(*parts, iou, surely=False, final=final), candidates.scores)[found].any(0)
    explained = found | answered | ~clearly_above(candidates.scores, conf)
    one_anchor = candidates.anchors[:, None] == candidates.anchors[None]
    missing = np.unique(candidates.anchors[~(one_anchor & explained).any(1)])
    if missing.size:
        return f"{missing.size} detections are missing, and nothing was found that may have suppressed them"
    return ""


def _overlaps(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """IoU of every two boxes, ``(M, M)``; a box of negative width or height overlaps nothing."""
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    inner = np.ones((len(boxes), len(boxes)))
    for axis in (0, 1):
        top = np.minimum(high[:, None, axis], high[None, :, axis])
        inner *= np.maximum(top - np.maximum(low[:, None, axis], low[None, :, axis]), 0)
    area = (high - low).prod(1)
    return np.asarray(inner / np.maximum(area[:, None] + area[None] - inner, 1e-12), np.float64)


def _logit(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Inverse of the sigmoid, finite at 0 and 1."""
    p = np.clip(probability, 1e-30, 1 - 1e-16)
    return np.asarray(np.log(p) - np.log1p(-p), np.float64)
