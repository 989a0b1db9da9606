"""The transform ``track``: a part that crosses the picture is one part, however many frames see it."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from lineside.pipelines.catalog import Options, Place
from lineside.pipelines.frame import CAPTURE, Frame
from lineside.pipelines.units import parse_time
from lineside.runtime.errors import BadOption, MissingPackage

__all__ = ["Following", "Track", "make"]

_BLEND = 0.75
"""How much a part's newest place counts for its speed. The tracker's own default of 0.25 loses parts that move by more than a
quarter of their length between two frames."""

_PAIR = r"^-?[0-9.]+,-?[0-9.]+$"


class Following(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How parts are followed.

    Attributes:
        overlap: A detection goes on with a part whose foreseen place it overlaps by more than this (IoU).
        sure: A new part begins with a detection of at least this score; weaker ones only go on with a part.
        lost: A part that nobody has seen for so long is gone.
        belt: Speed of a belt in pixels per second to the right and down, as ``120,0``: what moves with it stands still for
            the tracker, so that parts may move by more than their length between two frames.
        per_count: The same in pixels per count of the encoder, for a belt that stops and starts.
    """

    overlap: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.1
    sure: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.4
    lost: str = "500ms"
    belt: Annotated[str, msgspec.Meta(pattern=_PAIR)] | None = None
    per_count: Annotated[str, msgspec.Meta(pattern=_PAIR)] | None = None

    def __post_init__(self) -> None:
        parse_time(self.lost)
        if self.belt is not None and self.per_count is not None:
            raise BadOption("a belt's motion is known from its speed or from its encoder: give belt or per_count")


def make(options: Following, place: Place) -> Track:
    """Makes the transform.

    Raises:
        MissingPackage: The tracker is not installed.
    """
    return Track(options)


class Track:
    """Gives each detection the number of its part, counted from 0 for each source.

    ByteTrack (Zhang et al., ECCV 2022) of the package ``edgefirst-tracker``: Apache-2.0, needs numpy alone, 0.4 MB, wheels for
    x86-64 and aarch64.

    Args:
        following: How parts are followed.

    Raises:
        MissingPackage: The package is not installed.

    Attributes:
        parts: How many parts have been seen.
    """

    lanes = 1

    def __init__(self, following: Following) -> None:
        try:
            from edgefirst.tracker import ByteTrack
        except ImportError as error:
            raise MissingPackage(
                "the package edgefirst-tracker is not installed, so parts cannot be followed; "
                "install it with: pip install 'lineside[station]'"
            ) from error
        self._following = following
        self._lost = parse_time(following.lost)
        self._last: int | None = None
        self._tracker: Any = ByteTrack(
            high_conf=following.sure, iou=following.overlap, update=_BLEND, lifespan_ns=self._lost
        )
        self._numbers: dict[str, int] = {}
        self._speed = _pair(following.belt or following.per_count)
        self._begin: float | None = None
        self.parts = 0

    def open(self) -> None:
        """See `Transform.open`."""

    def __call__(self, frame: Frame) -> None:
        """Numbers what was found in the frame; frames come in the order of capture."""
        found = frame.detections
        if found is None:
            return
        now = frame.clock.get(CAPTURE, round(frame.pts * 1e9))
        boxes = found.boxes.astype(np.float32) - np.tile(self._moved(frame, now), 2)
        self._expire(now)
        # Of one class: a part is the same part where the model changes its mind about it.
        tracked = self._tracker.update(
            np.ascontiguousarray(boxes, np.float32), np.array(found.scores), np.zeros(len(found), np.uintp), now
        )
        numbers = [-1 if track is None else self._number(track.uuid) for track in tracked]
        frame.detections = dataclasses.replace(found, tracks=np.array(numbers, np.int32))
        if len(self._numbers) > 4096:
            self._forget()

    def _expire(self, now: int) -> None:
        """Lets parts go after a gap: the tracker matches first and looks at the time afterwards."""
        if self._last is not None and now - self._last > self._lost:
            self._tracker.update(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.uintp), now)
        self._last = now

    def _moved(self, frame: Frame, now: int) -> npt.NDArray[np.float32]:
        """How far the belt has come since the first frame, px."""
        if self._speed is None:
            return np.zeros(2, np.float32)
        by_count = self._following.per_count is not None
        if by_count and frame.encoder is None:
            raise BadOption(
                "per_count needs an encoder count with each frame, and this source gives none; use belt=, or a camera "
                "that sends its counter"
            )
        at = float(frame.encoder or 0) if by_count else now / 1e9
        self._begin = at if self._begin is None else self._begin
        return (self._speed * (at - self._begin)).astype(np.float32)

    def _number(self, key: str) -> int:
        """Number of a part by the tracker's own name for it."""
        if key not in self._numbers:
            self._numbers[key] = self.parts
            self.parts += 1
        return self._numbers[key]

    def _forget(self) -> None:
        """Lets go of the names of parts that are gone, so that months cost no memory."""
        there = {active.info.uuid for active in self._tracker.get_active_tracks()}
        self._numbers = {key: number for key, number in self._numbers.items() if key in there}

    def close(self) -> None:
        """See `Transform.close`."""


def _pair(text: str | None) -> npt.NDArray[np.float64] | None:
    if text is None:
        return None
    try:
        return np.array([float(word) for word in re.split(",", text)])
    except ValueError as error:
        raise BadOption(f"{text!r} is not two numbers with a comma") from error
