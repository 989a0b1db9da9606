"""What one model found in one picture, in the form that the judge takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineside.runtime.masks import RunLengths

__all__ = ["CONF", "IOU", "MAX_DET", "Found", "Frame", "Frames"]

CONF, IOU, MAX_DET = 0.001, 0.7, 300
"""Options of both models, those that ultralytics validates with: whatever has a score counts towards the curve."""

Frame = npt.NDArray[np.uint8]
"""A picture, ``(H, W, 3)`` BGR."""

Frames = Iterable[Frame]
"""Pictures, made one at a time as they are asked for."""


@dataclass(frozen=True)
class Found:
    """Detections in one picture.

    Attributes:
        boxes: ``(N, 4)`` float32 xyxy, picture pixels.
        scores: ``(N,)`` float32.
        classes: ``(N,)`` int32: class indices of the model.
        masks: COCO run lengths, one each; None for a model without masks.
        image_size: Height and width of the picture.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int32]
    masks: tuple[RunLengths, ...] | None
    image_size: tuple[int, int]
