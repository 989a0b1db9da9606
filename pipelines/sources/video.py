"""Video files, through OpenCV."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.sources.capture import Capture
from lineside.pipelines.sources.formats import is_text
from lineside.pipelines.sources.opencv import native_path, opencv
from lineside.pipelines.sources.pictures import special
from lineside.runtime.errors import SourceError

__all__ = ["Video"]

_ATTEMPTS = 64
"""Attempts to go on after a frame that cannot be decoded. FFmpeg gives up at damage, and goes on when asked again."""
_COUNTED = frozenset((".avi", ".m4v", ".mov", ".mp4"))
"""Containers that know how many frames they have; of the others only a time is known, and OpenCV makes a number of it."""
_STEADY = 0.9
"""Share of frames at the nominal distance from which on a video counts as one of constant rate."""


class Video(Capture):
    """One video file, every frame of it, decoded into buffers that are used again.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = str(path)
        self._expected = 0
        self._fps = 0.0

    def open(self) -> StreamInfo:
        """See `Source.open`.

        Raises:
            MissingPackage: OpenCV is not installed.
            SourceError: The file is not there or no video.
        """
        cv2 = opencv()
        path = Path(self._path)
        if reason := _unfit(path):
            raise SourceError(f"cannot read the video {self._path}: {reason}")
        self._capture = cv2.VideoCapture(native_path(path))
        if not self._capture.isOpened():
            self.close()
            raise SourceError(
                f"cannot read the video {self._path}: it is damaged, cut off, has no pictures or is not a video"
            )
        self._expected = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        fps = self._fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        rate = fps if 0 < fps < 1000 else None
        return StreamInfo(self._path, "video", frames=self._expected or None, fps=rate, format="bgr")

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`.

        Frames all have the size of the first one: where a video changes its size, OpenCV brings the rest to it. What
        is damaged is left out and the rest goes on; one failed frame at the end stands for all that were left out.
        """
        cv2, capture = opencv(), self._capture
        count, steady, pts = 0, 0, 0.0
        while not self._stop.is_set():
            begin = time.monotonic_ns()
            if not self._grab(count):
                break
            last, pts = pts, max(0.0, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            if (pixels := self._retrieve()) is None:
                continue
            count += 1
            steady += abs((pts - last) * self._fps - 1) < 0.2
            yield Frame(
                pixels,
                source=self._path,
                name=self._path,
                pts=pts,
                captured=begin,
                recycle=self._pool.give,
            )
        if not self._stop.is_set():
            yield from self._missing(count, pts, steady >= _STEADY * (count - 1))

    def _grab(self, count: int) -> bool:
        """Moves to the next frame, past what cannot be decoded as long as more are to come."""
        if self._capture.grab():
            return True
        return count < self._expected and any(self._capture.grab() for _ in range(_ATTEMPTS))

    def _missing(self, count: int, last: float, constant: bool) -> Iterator[Frame]:
        """A failed frame that stands for those which the file should have had.

        Args:
            count: Frames that were read.
            last: Presentation time of the last one in seconds.
            constant: Whether they came at a constant rate.
        """
        counted = Path(self._path).suffix.lower() in _COUNTED
        at_end = round(last * self._fps) + 1
        # Where only the time is known and the rate varies, who has come to its end has seen them all.
        seen = count if counted or constant else max(count, at_end)
        # Even containers that count do so wrongly by a frame or two, and a time rounded up may mean one more.
        if count and self._expected - seen <= (2 if counted or constant else max(2, self._expected // 50)):
            return
        if not count:
            reason = "has no frames"
        elif self._expected - at_end > 2:
            reason = f"breaks off after {count} of {self._expected} frames"
        else:
            reason = f"is damaged: only {count} of {self._expected} frames can be read"
        yield Frame(None, source=self._path, name=self._path, error=f"the video {reason}", captured=time.monotonic_ns())


def _unfit(path: Path) -> str | None:
    """Why a path should not be given to FFmpeg, which takes some texts for lists of other files and waits for pipes."""
    try:
        if not os.path.lexists(path):
            return "there is no such file"
        reason = special(path)
        if reason == "it is a device":  # A camera by its device file.
            return None
        if reason:
            return reason
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        return error.strerror
    return "the file is empty" if not head else "it is a text" if is_text(head) else None
