"""Turns one inspected frame into one message: the picture and everything drawn over it, together.

Layout of a message: 4 bytes little-endian length of the JSON, the JSON, the JPEG. Overlay and table of the page come
from the same message as the picture under them, so they can never disagree.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from lineside.pipelines.frame import Frame
from lineside.runtime.detections import Detections

__all__ = ["WIRE_WIDTH", "Shot", "describe", "encode"]

WIRE_WIDTH = 1280
"""Widest picture on the wire, in pixels; wider frames are shrunk for the page, never for the inspection."""

JPEG_QUALITY = 80
OUTLINE_TOLERANCE = 0.6
"""How far a drawn outline may lie from the mask's own border, in pixels of the wire picture."""


@dataclass(frozen=True)
class Shot:
    """One inspected frame as the page shows it.

    Attributes:
        version: Counts the shots of this view, so that a page knows how many it skipped.
        frame: The frame; whoever reads its pixels holds it.
        detections: What was found in it, which may be newer than what the frame says itself; None where nobody looked.
        facts: Gives further JSON values that travel with the picture: latency, counters.
    """

    version: int
    frame: Frame
    detections: Detections | None
    facts: Callable[[], Mapping[str, Any]]


def outlines(corner: tuple[int, int], crop: npt.NDArray[np.uint8], tolerance: float) -> list[list[float]]:
    """Closed outlines of a mask, holes included, to be filled by the even-odd rule.

    Args:
        corner: (x0, y0) of the crop in the picture.
        crop: (h, w) uint8 of 0 and 1.
        tolerance: Largest distance between drawn and true outline, picture pixels.

    Returns:
        One flat list ``[x, y, x, y, ...]`` of pixel centres per outline, picture pixels; outer outlines and holes.
    """
    if crop.size == 0:
        return []
    contours, _ = cv2.findContours(np.ascontiguousarray(crop), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=corner)
    thin = (cv2.approxPolyDP(contour, tolerance, True) for contour in contours)
    # A speck of one or two pixels keeps its points: an empty outline would hide the smallest defects.
    kept = (line if len(line) > 2 else contour for line, contour in zip(thin, contours, strict=True))
    return [points.reshape(-1).tolist() for points in kept]


def describe(detections: Detections, tolerance: float = OUTLINE_TOLERANCE) -> list[dict[str, Any]]:
    """The objects of a frame as plain JSON values, in the order of the detections.

    Args:
        detections: What was found.
        tolerance: How far an outline may lie from the mask, picture pixels.

    Returns:
        One dict per object: ``class`` index, ``name``, ``score``, ``box`` ([x0, y0, x1, y1] px), ``area`` (px, None
        without masks) and ``outlines``.
    """
    objects = []
    for index in range(len(detections)):
        label = int(detections.classes[index])
        entry: dict[str, Any] = {
            "class": label,
            "name": detections.names[label],
            "score": round(float(detections.scores[index]), 6),
            "box": [round(float(edge), 1) for edge in detections.boxes[index]],
            "area": None,
            "outlines": [],
        }
        if detections.masks is not None:
            mask = detections.masks[index]
            x0, y0, crop = mask.crop()
            entry["area"] = int(mask.area)
            entry["outlines"] = outlines((int(x0), int(y0)), crop, tolerance)
        objects.append(entry)
    return objects


def shrink(pixels: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.uint8]:
    """The picture, no wider than `width` pixels; the frame itself where it already fits."""
    height, wide = pixels.shape[:2]
    if wide <= width:
        return pixels
    size = (width, max(1, round(height * width / wide)))
    # Averaging costs four times as much and shows no difference before every other pixel would be skipped.
    method = cv2.INTER_AREA if wide >= 2 * width else cv2.INTER_LINEAR
    return cv2.resize(pixels, size, interpolation=method)  # type: ignore[return-value]


def encode(shot: Shot, width: int = WIRE_WIDTH, quality: int = JPEG_QUALITY) -> bytes:
    """One WebSocket message for one shot.

    Args:
        shot: What to show.
        width: Widest picture sent, pixels.
        quality: JPEG quality, 1 to 100.

    Returns:
        Length of the JSON (4 bytes, little endian), the JSON, the JPEG.

    Raises:
        ValueError: The frame's pixels are gone.
    """
    if shot.frame.pixels is None:
        raise ValueError("the frame has been released and has no pixels any more")
    pixels = shot.frame.bgr()
    height, wide = pixels.shape[:2]
    tolerance = OUTLINE_TOLERANCE * max(1.0, wide / width)
    head = msgspec.json.encode(
        {
            "type": "picture",
            "version": shot.version,
            "sequence": shot.frame.sequence,
            "source": shot.frame.name or shot.frame.source,
            "size": [wide, height],
            "objects": [] if shot.detections is None else describe(shot.detections, tolerance),
            **shot.facts(),
        }
    )
    done, picture = cv2.imencode(".jpg", shrink(pixels, width), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:  # cannot happen for the uint8 pictures that pass check_frame; a lost picture must not be silent
        raise RuntimeError("OpenCV could not encode the picture as JPEG")
    return struct.pack("<I", len(head)) + head + picture.tobytes()
