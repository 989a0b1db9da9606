"""Pictures through the runtime: what the line would see."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from lineside.export.accuracy.found import CONF, IOU, MAX_DET, Found, Frames
from lineside.runtime.detections import Detections
from lineside.runtime.segmenter import Segmenter

__all__ = ["through_bundle"]


def through_bundle(model: Segmenter, frames: Frames) -> Iterator[Found]:
    """Looks at pictures with a loaded bundle, masks at the resolution of the picture.

    Args:
        model: Result of `lineside.load`.
        frames: The pictures.

    Yields:
        What was found in each.

    Raises:
        NonFiniteOutput: The model produced NaN or infinity, and so are the other errors of a call.
    """
    waiting = iter(frames)
    while batch := list(islice(waiting, model.manifest.input.batch)):
        for seen in model.many(batch, conf=CONF, iou=IOU, max_det=MAX_DET):
            yield _found(seen)


def _found(seen: Detections) -> Found:
    masks = None if seen.masks is None else tuple(mask.rle() for mask in seen.masks)
    return Found(seen.boxes, seen.scores, seen.classes, masks, seen.image_size)
