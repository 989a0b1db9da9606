"""Torch's own detections by the rules of the bundle format: threshold, one label per anchor, suppression per class."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lineside.export.parity.reference import Seen

__all__ = ["Chosen", "detect", "overlaps"]


@dataclass(frozen=True)
class Chosen:
    """Detections as anchor indices, by falling score.

    Attributes:
        anchors: ``(N,)`` int64.
        classes: ``(N,)`` int64.
        scores: ``(N,)`` float64.
        margin: Least distance of an overlap that was looked at from the threshold: how safe the choice is.
    """

    anchors: torch.Tensor
    classes: torch.Tensor
    scores: torch.Tensor
    margin: float


def overlaps(box: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """IoU of one box with others.

    Args:
        box: ``(4,)`` xyxy.
        others: ``(N, 4)`` xyxy.

    Returns:
        ``(N,)``.
    """
    low, high = torch.maximum(box[:2], others[:, :2]), torch.minimum(box[2:], others[:, 2:])
    inner = (high - low).clamp(min=0).prod(1)
    area = (box[2:] - box[:2]).prod()
    return inner / (area + (others[:, 2:] - others[:, :2]).prod(1) - inner).clamp(min=1e-12)


def detect(seen: Seen, conf: float, iou: float, max_det: int) -> Chosen:
    """Picks detections.

    Args:
        seen: Torch's view of a picture.
        conf: Keep a score above this.
        iou: Suppress the weaker of two boxes of one class whose IoU in input pixels, not clipped, is above this;
            ignored where the rows are detections already.
        max_det: At most so many.
    """
    scores, classes = seen.scores.max(1)
    order = torch.argsort(scores, descending=True, stable=True)  # stable: ties go to the lower anchor
    order = order[scores[order] > conf]
    if seen.final:
        order = order[:max_det]
        return Chosen(order, classes[order], scores[order], 1.0)
    kept: list[int] = []
    margin = 1.0
    while len(order) and len(kept) < max_det:
        anchor = order[0]
        kept.append(int(anchor))
        order = order[1:]
        same = classes[order] == classes[anchor]
        shared = overlaps(seen.input_boxes[anchor], seen.input_boxes[order])
        if bool(same.any()):
            margin = min(margin, float((shared[same] - iou).abs().min()))
        order = order[~(same & (shared > iou))]
    anchors = torch.tensor(kept, dtype=torch.int64)
    return Chosen(anchors, classes[anchors], scores[anchors], margin)
