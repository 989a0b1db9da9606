"""Draws what was found onto a picture: tinted masks with outlines, boxes, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lineside.pipelines.frame import Pixels
from lineside.pipelines.sources.opencv import opencv

if TYPE_CHECKING:
    from lineside.runtime.detections import Detections

__all__ = ["PALETTE", "Overlay", "colour", "fit"]

PALETTE: tuple[tuple[int, int, int], ...] = (
    (190, 230, 0),
    (0, 150, 255),
    (230, 70, 230),
    (60, 220, 90),
    (255, 140, 40),
    (0, 225, 255),
    (80, 80, 255),
    (255, 110, 150),
    (160, 255, 160),
    (190, 190, 255),
)
"""BGR colours of the classes, in turn. The first, which most lines see alone, is one that parts seldom have: it stands
out on metal, rubber, glass and blood."""

_ALARM = (40, 40, 230)
"""BGR colour behind a banner."""

_TINT = 0.42
"""Share of the class colour in a tinted pixel."""


def colour(number: int) -> tuple[int, int, int]:
    """BGR colour of a class."""
    return PALETTE[number % len(PALETTE)]


class Overlay:
    """Draws into a canvas of its own that is used again, so that the frame itself stays as it was.

    Masks are drawn from their spans' tight crops; nothing of the size of picture times detections exists.
    """

    def __init__(self) -> None:
        self._cv2 = opencv()
        self._canvas: Pixels = np.empty((0, 0, 3), np.uint8)
        self._tables: dict[int, Any] = {}

    def draw(self, pixels: Pixels, found: Detections | None, banner: str = "") -> Pixels:
        """Draws one picture.

        Args:
            pixels: ``(H, W, 3)`` uint8 BGR or ``(H, W)`` uint8 grey.
            found: What was found in it; None draws nothing.
            banner: A word for its top left corner.

        Returns:
            ``(H, W, 3)`` uint8 BGR, valid until the next call.
        """
        height, width = pixels.shape[:2]
        if self._canvas.shape[:2] != (height, width):
            self._canvas = np.empty((height, width, 3), np.uint8)
        np.copyto(self._canvas, pixels if pixels.ndim == 3 else pixels[..., None])
        unit = max(1, round(min(height, width) / 360))
        if found is not None and len(found):
            # Weak ones first: where labels or boxes overlap, the best one is on top.
            order = range(len(found) - 1, -1, -1)
            for i in order:
                self._mask(found, i, unit)
            for i in order:
                self._box(found, i, unit)
        if banner:
            self._label(banner, 0, 0, 0, _ALARM, unit)
        return self._canvas

    def _mask(self, found: Detections, i: int, unit: int) -> None:
        """Tints the pixels of one mask and draws its outline."""
        if found.masks is None:
            return
        cv2, mask, number = self._cv2, found.masks[i], int(found.classes[i])
        x0, y0, crop = mask.crop()
        if not crop.size:
            return
        region = self._canvas[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]]
        cv2.copyTo(cv2.LUT(region, self._table(number)), crop, region)
        outline = [np.rint(ring * 16).astype(np.int32).reshape(-1, 1, 2) for ring in mask.polygons()]
        cv2.polylines(self._canvas, outline, True, colour(number), max(1, unit // 2), cv2.LINE_AA, 4)

    def _table(self, number: int) -> Any:
        """Look-up table from a pixel to its tinted value, per channel."""
        if number not in self._tables:
            values = np.arange(256)[:, None] * (1 - _TINT) + np.array(colour(number)) * _TINT
            self._tables[number] = np.rint(values).astype(np.uint8).reshape(256, 1, 3)
        return self._tables[number]

    def _box(self, found: Detections, i: int, unit: int) -> None:
        """Draws the box and the label of one detection."""
        cv2, number = self._cv2, int(found.classes[i])
        x0, y0, x1, y1 = (round(side) for side in found.boxes[i].tolist())
        cv2.rectangle(self._canvas, (x0, y0), (x1 - 1, y1 - 1), colour(number), unit, cv2.LINE_AA)
        text = f"{_plain(found.names[number], number)} {float(found.scores[i]):.2f}"
        if found.tracks is not None and found.tracks[i] >= 0:
            text = f"#{found.tracks[i]} {text}"
        self._label(text, x0, y0, y1, colour(number), unit)

    def _label(self, text: str, x0: int, y0: int, y1: int, back: tuple[int, int, int], unit: int) -> None:
        """Writes on a filled bar above the box; inside or below it where there is no room."""
        cv2 = self._cv2
        height, width = self._canvas.shape[:2]
        scale, thick, pad = 0.36 + 0.14 * unit, max(1, round(unit * 0.7)), 2 + unit
        (wide, high), low = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        bar = high + low + 2 * pad
        top = y0 - bar if y0 >= bar else min(y1, height - bar) if y1 + bar <= height else y0
        left = max(0, min(x0, width - wide - 2 * pad))
        top = max(0, top)
        cv2.rectangle(self._canvas, (left, top), (left + wide + 2 * pad, top + bar), back, cv2.FILLED)
        bright = 0.114 * back[0] + 0.587 * back[1] + 0.299 * back[2] > 140
        ink = (20, 20, 20) if bright else (255, 255, 255)
        place = (left + pad, top + pad + high)
        cv2.putText(self._canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thick, cv2.LINE_AA)


def _plain(name: str, number: int) -> str:
    """A class name as OpenCV's built-in font can write it."""
    return name if name.isascii() and name.isprintable() else f"class {number}"


def fit(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """A picture fitted into another size, black around it.

    Args:
        picture: ``(H, W, 3)`` uint8 BGR.
        size: Height and width.

    Returns:
        A new ``(*size, 3)`` uint8 BGR.
    """
    cv2 = opencv()
    scale = min(size[0] / picture.shape[0], size[1] / picture.shape[1])
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    out = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    out[top : top + height, left : left + width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return out
