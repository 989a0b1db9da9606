"""Inspected frames without a model, for those who only write them down."""

from __future__ import annotations

import numpy as np

from helpers.media import picture
from lineside.pipelines.frame import DECIDED, TAKEN, Frame
from lineside.runtime.detections import Detections

BEGAN = 1_800_000_000.0
"""Wall-clock time of frame 0; one comes each second."""


def inspected(number: int, size: tuple[int, int] = (48, 64), found: int = 2) -> Frame:
    """A frame of a picture of its own, with so many boxes on it, and all that may travel with a frame."""
    rng = np.random.default_rng(number)
    frame = Frame(picture(size, number), source="top", name=f"a,b{number}.png", pts=float(number), captured=1)
    frame.sequence, frame.outcome, frame.model = number, "inspected", "caps"
    frame.wall, frame.trigger, frame.part, frame.encoder = BEGAN + number, number, f"part {number}", 100 * number
    frame.stamp(TAKEN)
    frame.stamp(DECIDED)
    corners = rng.uniform(0, min(size) / 2, (found, 4)).astype(np.float32)
    frame.detections = Detections(
        boxes=corners + np.array([0, 0, 20, 20], np.float32),
        scores=np.sort(rng.uniform(0.3, 1, found).astype(np.float32))[::-1].copy(),
        classes=rng.integers(0, 2, found).astype(np.int32),
        anchors=np.arange(found, dtype=np.int32),
        masks=None,
        names=("cap", 'lid, "left"'),
        image_size=size,
    )
    return frame
