"""Level 3 of the gate: masks of the best anchors, pixel by pixel in the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineside.export.parity.reference import Seen
from lineside.export.parity.result import MaskMeasure
from lineside.export.parity.rule import native_masks, rule_mask
from lineside.runtime.detections import Detections

__all__ = ["NATIVE", "compare_masks", "iou"]

NATIVE = 16
"""Masks per picture, the best ones, that are compared with ``process_mask_native`` as well: that is for information,
and costs more than all the rest where pictures are large."""


def iou(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float | None:
    """Intersection over union of two masks; None where both are empty."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else None


def compare_masks(found: Detections, seen: Seen) -> MaskMeasure:
    """Compares the masks of one picture.

    Args:
        found: The bundle's best anchors with native masks.
        seen: Torch's view of the same picture; its masks are made from its own boxes, coefficients and prototypes.

    Returns:
        The measure; a pair of empty masks agrees and is not counted.
    """
    anchors = np.asarray(found.anchors, np.int64)
    masks = found.masks
    if masks is None or not len(anchors):
        return MaskMeasure(compared=0, mean_iou=0.0, min_iou=0.0, native_iou=0.0)
    image_size = seen.placement.image_size
    first = anchors[:NATIVE]
    theirs = native_masks(seen.coefficients[first], seen.protos, seen.boxes[first], image_size)
    rule, native = [], []
    for i, anchor in enumerate(anchors):
        mine = masks[i].to_array()
        want = rule_mask(seen.coefficients[anchor], seen.protos, seen.boxes[anchor], seen.placement)
        rule.append(iou(mine, want))
        if i < len(first):
            native.append(iou(mine, theirs[i].astype(np.bool_)))
    known = [value for value in rule if value is not None]
    beside = [value for value in native if value is not None]
    return MaskMeasure(
        compared=len(known),
        mean_iou=float(np.mean(known)) if known else 0.0,
        min_iou=min(known, default=0.0),
        native_iou=float(np.mean(beside)) if beside else 0.0,
    )
