"""What a picture's detections may be, whichever way rounding falls: suppression with three answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineside.export.parity.reference import Seen
from lineside.runtime.ties import MOST_CANDIDATES, clearly_above, excluding, may_suppress

__all__ = ["Outlook", "outlook"]


@dataclass(frozen=True)
class Outlook:
    """Every detection that may be found in a picture.

    Attributes:
        anchors: ``(M,)`` int64.
        classes: ``(M,)`` int64; an anchor is listed once per class that may be its best.
        open: ``(M,)``: rounding decides whether it stays; the others stay for certain.
    """

    anchors: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    open: npt.NDArray[np.bool_]

    @property
    def settled(self) -> bool:
        """Whether nothing is left to rounding."""
        return not self.open.any()


def outlook(seen: Seen, conf: float, iou: float) -> Outlook | None:
    """Looks for everything that may be found where every score and overlap is wrong by no more than rounding.

    A candidate goes for certain where one that stays for certain is clearly better and overlaps it clearly. It stays
    for certain where it is clearly above the score threshold, its anchor has no other class on a par, and everything
    that may suppress it goes for certain. Both are repeated until nothing changes; what is left is open.
    `lineside.runtime.ties` says what clearly means.

    Args:
        seen: Torch's view of the picture.
        conf: Score threshold.
        iou: Overlap threshold.

    Returns:
        What may be found, by falling score; None where there are too many candidates to look at every pair.
    """
    scores = seen.scores.numpy()
    best = scores.max(1, keepdims=True)
    anchors, classes = np.nonzero(~clearly_above(best, scores) & ~clearly_above(conf, scores))
    if len(anchors) > MOST_CANDIDATES:
        return None
    order = np.argsort(-scores[anchors, classes], kind="stable")
    anchors, classes = anchors[order], classes[order]
    own = scores[anchors, classes]
    parts = anchors, classes, seen.input_boxes.numpy()[anchors]
    maybe = may_suppress(excluding(*parts, iou, surely=False, final=seen.final), own)
    surely = excluding(*parts, iou, surely=True, final=seen.final) & clearly_above(own[:, None], own[None])
    same = anchors[:, None] == anchors[None]
    passes = clearly_above(own, conf) & (same.sum(1) == 1)
    stays = goes = np.zeros(len(own), np.bool_)
    while True:
        now_goes = np.asarray(surely[stays].any(0), np.bool_)
        now_stays = np.asarray(passes & ~maybe[~now_goes].any(0), np.bool_)
        if (now_goes == goes).all() and (now_stays == stays).all():
            break
        goes, stays = now_goes, now_stays
    left = (same & ~goes).any(1)  # an anchor stays in the list with every class that it may have
    return Outlook(anchors[left], classes[left], ~stays[left])
