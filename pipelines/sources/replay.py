"""Plays a recorded session again: the same frames with their own times, triggers, parts and encoder counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

from lineside.pipelines.catalog import Options, Place
from lineside.pipelines.elements import Source, StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.names import printable
from lineside.pipelines.sessions import Recorded, content, index_of, pixels_of, read_index, session_folders
from lineside.pipelines.sinks.floor import Tell
from lineside.pipelines.sinks.growing import quiet
from lineside.pipelines.sinks.lasting import tell_of
from lineside.pipelines.sources.opencv import opencv
from lineside.pipelines.sources.paced import Playback
from lineside.runtime.errors import SourceError
from lineside.runtime.yuv import Picture

__all__ = ["Replay", "Replayed", "make"]

_LOOKED_AT = 100
"""Frames from which the rate of a session is worked out."""


class Replayed(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A session that `record` has written.

    Attributes:
        path: The folder of the session, or one of the folders by time in it.
        pace: ``own`` gives each frame at its own time, like the camera did, and waits for nobody; ``fast`` gives them as
            fast as they are taken.
    """

    path: str = "session"
    pace: Literal["own", "fast"] = "own"


def make(options: Replayed, place: Place) -> Source:
    """Makes the source of a station."""
    path = place.path(options.path)
    if options.pace == "fast":
        return Replay(path, tell=tell_of(place))
    return Playback(Replay(path, live=True, tell=tell_of(place)))


class Replay:
    """Gives the frames of a recorded session, as fast as they are taken.

    A line whose picture is not there as a whole is left out; at the end it is told how many were.

    Args:
        path: Folder of the session, or one of those in it.
        live: Whether to call itself live, for who holds it to its pace.
        tell: Told what was left out.
    """

    def __init__(self, path: Path, *, live: bool = False, tell: Tell = quiet) -> None:
        self._path = path
        self._live = live
        self._tell = tell
        self._stop = threading.Event()

    def open(self) -> StreamInfo:
        """See `Source.open`.

        Raises:
            MissingPackage: OpenCV is not installed.
            SourceError: There is no session.
        """
        opencv()
        try:
            lines, frames = [], 0
            for frames, line in enumerate(self._all(), start=1):
                if frames <= _LOOKED_AT:
                    lines.append(line)
        except OSError as error:
            raise SourceError(f"cannot read the session {self._path}: {error.strerror}") from error
        if not lines:
            raise SourceError(f"cannot replay {self._path}: there are no recorded frames; name a folder of `record`")
        steps = [b.pts - a.pts for a, b in pairwise(lines) if b.pts > a.pts]
        sizes = {line.size for line in lines if line.picture}
        return StreamInfo(
            printable(str(self._path)),
            "camera" if self._live else "video",
            live=self._live,
            frames=frames,
            size=sizes.pop() if len(sizes) == 1 else None,
            fps=1 / median(steps) if steps else None,
        )

    def _all(self) -> Iterator[Recorded]:
        for folder in session_folders(self._path):
            yield from _lines(folder)

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`."""
        lost = 0
        for folder in session_folders(self._path):
            for line in _lines(folder):
                if self._stop.is_set():
                    return
                frame = _frame(folder, line)
                if frame is None:
                    lost += 1
                else:
                    yield frame
        if lost:
            self._tell("warning", "not whole", f"{lost} frames of {self._path} have no whole picture and were left out")

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()

    def close(self) -> None:
        """See `Source.close`."""


def _lines(folder: Path) -> Iterator[Recorded]:
    index = index_of(folder)
    return read_index(index) if index is not None else iter(())


def _frame(folder: Path, line: Recorded) -> Frame | None:
    """The frame of a line; None where its picture is not whole."""
    begin = time.monotonic_ns()
    pixels = None
    if line.picture:
        data = content(folder, line)
        pixels = None if data is None else _pixels(data, line)
        if pixels is None:
            return None
    # An error that came after the picture was there, such as that of a model, is not the picture's.
    error = line.error if pixels is None else None
    frame = Frame(pixels, source=line.source, name=line.file, pts=line.pts, error=error, note=line.note, captured=begin)
    frame.wall, frame.trigger, frame.part, frame.encoder = line.wall, line.trigger, line.part, line.encoder
    frame.missed, frame.damage = line.missed, line.damage
    return frame


def _pixels(data: bytes, line: Recorded) -> Picture | None:
    """Pixels as they were recorded; None where they cannot be decoded."""
    cv2 = opencv()
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return None if array is None else pixels_of(array, line)
