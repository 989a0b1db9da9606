"""The transform ``roi``: from here on a frame is a part of its picture."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from lineside.pipelines.catalog import Options, Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame, Pixels
from lineside.pipelines.pool import BufferPool
from lineside.pipelines.sources.opencv import opencv
from lineside.runtime.errors import BadFrame, BadOption

__all__ = ["Region", "Roi", "make"]

_NUMBERS = r"^\s*-?[0-9.]+(\s*[, ]\s*-?[0-9.]+)*\s*$"
_OUTSIDE = 114
"""Grey of the letterbox's border, which a model has learned to look past."""

Points = npt.NDArray[np.float64]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom; the last two are outside."""


class Region(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the picture is looked at; boxes and masks count from its corner. One of the three.

    Attributes:
        crop: Left, top, width and height in pixels, as ``100,50,640,480``.
        polygon: Corners in pixels, as ``x1,y1,x2,y2,x3,y3``: the crop around them, with grey outside.
        perspective: The four corners, clockwise from the top left, of a plane seen at an angle; it is turned to the front.
        size: Width and height of what `perspective` gives, as 800x600; as large as its longest sides where it is missing.
    """

    crop: Annotated[str, msgspec.Meta(pattern=_NUMBERS)] | None = None
    polygon: Annotated[str, msgspec.Meta(pattern=_NUMBERS)] | None = None
    perspective: Annotated[str, msgspec.Meta(pattern=_NUMBERS)] | None = None
    size: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")] | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("crop", "polygon", "perspective") if getattr(self, name) is not None]
        if len(given) != 1:
            raise BadOption("a region is one of crop, polygon and perspective")
        if self.size is not None and self.perspective is None:
            raise BadOption("size is for perspective; a crop and a polygon have their own")
        if self.crop is not None and (len(_numbers(self.crop)) != 4 or min(_numbers(self.crop)[2:]) < 1):
            raise BadOption(f"crop={self.crop} is not left,top,width,height with at least one pixel")
        if self.polygon is not None and (len(_points(self.polygon)) < 3):
            raise BadOption(f"polygon={self.polygon} has fewer than three corners")
        if self.perspective is not None and len(_points(self.perspective)) != 4:
            raise BadOption(f"perspective={self.perspective} has not four corners")


def make(options: Region, place: Place) -> Roi:
    """Makes the transform."""
    return Roi(options)


class Roi:
    """Cuts frames down; see `Region`.

    Args:
        region: What is left of them.
    """

    lanes = 256  # as many threads as there are

    def __init__(self, region: Region) -> None:
        self._show = _way(region)

    def open(self) -> None:
        """See `Transform.open`."""

    def fit(self, stream: StreamInfo) -> StreamInfo:
        """See `Fitting.fit`: a region has its own size, and lies inside the picture."""
        if stream.size is None:
            return stream
        probe = Frame(np.zeros(stream.size if stream.format == "grey" else (*stream.size, 3), np.uint8))
        try:
            self(probe)
        except BadFrame as error:
            raise BadOption(str(error)) from error
        return replace(stream, size=probe.size)

    def __call__(self, frame: Frame) -> None:
        """Puts the region in the place of the frame's picture.

        Raises:
            BadFrame: The region lies outside the picture.
        """
        self._show(frame)

    def close(self) -> None:
        """See `Transform.close`."""


def _way(region: Region) -> Callable[[Frame], None]:
    """What is done to each frame, with all that can be known before the first."""
    if region.crop is not None:
        left, top, width, height = (round(value) for value in _numbers(region.crop))
        return partial(_crop, box=(left, top, left + width, top + height))
    if region.polygon is not None:
        return _Within(_points(region.polygon))
    assert region.perspective is not None, "a region is one of the three"
    corners = _points(region.perspective)
    width, height = _sides(corners) if region.size is None else map(int, region.size.split("x"))
    return _Turned(corners, width, height)


def _crop(frame: Frame, box: Box) -> None:
    frame.show(_cut(frame, box))


class _Within:
    """The crop around a polygon, grey outside of it."""

    def __init__(self, corners: Points) -> None:
        (left, top), (right, bottom) = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
        self._box: Box = int(left), int(top), int(right), int(bottom)
        self._corners = np.round(corners - np.maximum((left, top), 0)).astype(np.int32)
        self._outside: Pixels | None = None
        self._pool = BufferPool()

    def __call__(self, frame: Frame) -> None:
        part = _cut(frame, self._box)
        outside = self._outside
        if outside is None or outside.shape != part.shape[:2]:
            outside = np.full(part.shape[:2], 1, np.uint8)
            opencv().fillPoly(outside, [self._corners], 0)
            self._outside = outside
        shown = self._pool.take(part.shape)
        np.copyto(shown, part)
        shown[outside.view(np.bool_)] = _OUTSIDE
        frame.show(shown, self._pool)


class _Turned:
    """A plane seen from the front."""

    def __init__(self, corners: Points, width: int, height: int) -> None:
        self._corners = corners
        self._size = width, height
        target = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
        self._matrix = opencv().getPerspectiveTransform(corners.astype(np.float32), target)
        self._pool = BufferPool()

    def __call__(self, frame: Frame) -> None:
        _check(frame, self._corners)
        picture = frame.bgr()
        width, height = self._size
        shown = self._pool.take((height, width, *picture.shape[2:]))
        opencv().warpPerspective(picture, self._matrix, self._size, shown)
        frame.show(shown, self._pool)


def _cut(frame: Frame, rectangle: Box) -> Pixels:
    """A rectangle of the picture, as a view; what lies outside the picture is left away."""
    (left, top, right, bottom), (height, width) = rectangle, frame.size
    box = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if box[0] >= box[2] or box[1] >= box[3]:
        raise BadFrame(
            f"the region from {left},{top} to {right},{bottom} lies outside the picture of {width}x{height} pixels"
        )
    return frame.bgr()[box[1] : box[3], box[0] : box[2]]


def _check(frame: Frame, corners: Points) -> None:
    height, width = frame.size
    if (corners < -1).any() or (corners > (width + 1, height + 1)).any():
        raise BadFrame(f"a corner of the region lies outside the picture of {width}x{height} pixels")


def _sides(corners: Points) -> tuple[int, int]:
    """Longest sides of a quadrangle, px."""
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    return max(1, round(max(sides[0], sides[2]))), max(1, round(max(sides[1], sides[3])))


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in re.split(r"[,\s]+", text.strip())]
    except ValueError as error:
        raise BadOption(f"{text!r} holds something that is no number") from error


def _points(text: str) -> Points:
    numbers = _numbers(text)
    if len(numbers) % 2:
        raise BadOption(f"{text!r} has an odd count of numbers; each corner has an x and a y")
    return np.array(numbers, np.float64).reshape(-1, 2)
