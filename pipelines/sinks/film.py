"""Video: pictures with what was found drawn onto them, all in one size and in the time of their source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.overlay import Overlay, fit
from lineside.pipelines.sinks.ffmpeg import find_ffmpeg
from lineside.pipelines.sinks.lasting import Lasting
from lineside.pipelines.sinks.reels import Fragments, Jpegs, Reel
from lineside.pipelines.sinks.video import WholeVideo
from lineside.pipelines.sinks.world import world_of
from lineside.runtime.errors import SinkError

__all__ = ["Film", "FilmFile", "make", "whole"]

_RATE = 25.0
"""Frames per second where the source has no rate."""
_LIVE = (1.0, 120.0)
"""Fewest and most frames per second of what a camera gives, whatever it is said to give."""
_STILL = 2.0
"""Longest stretch, in seconds, for which the last picture stands still where none came; what is longer is cut out."""


class FilmFile(Lasting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A video of the pictures with what was found drawn onto them.

    Attributes:
        path: Name of the file; for Motion JPEG its ending becomes ``.mjpeg``.
        codec: ``h264`` needs the program ffmpeg; ``mjpeg`` needs nothing and is ten times as large; ``auto`` takes H.264
            where it can.
        fps: Frames per second of the video; 0 for those of the source.
        draw: Whether to draw what was found.
    """

    path: str = "overlay.mp4"
    codec: Literal["auto", "h264", "mjpeg"] = "auto"
    fps: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    draw: bool = True


def make(options: FilmFile, place: Place) -> Film:
    """Makes the sink of a station.

    Raises:
        SinkError: H.264 is asked for and there is no ffmpeg that encodes it.
    """
    ffmpeg = None if options.codec == "mjpeg" else find_ffmpeg()
    if options.codec == "h264" and ffmpeg is None:
        raise SinkError("there is no program ffmpeg that encodes H.264; install ffmpeg, or choose codec=mjpeg")
    path, rules, world = place.path(options.path), options.rules(), world_of(place)
    reel: Reel = Jpegs(path, rules, world) if ffmpeg is None else Fragments(path, rules, ffmpeg, world)
    return Film(reel, fps=options.fps, draw=options.draw, timed=True, name=place.name)


def whole(path: Path) -> Film:
    """Makes the sink of a run: one file, which has its name when every frame is in it, each of them once.

    Args:
        path: Name of the file.
    """
    return Film(WholeVideo(path))


class Film:
    """Draws what was found, and makes a film of it. Frames get the size of the first.

    Args:
        reel: What the pictures become.
        fps: Frames per second; 0 for those of the source.
        draw: Whether to draw what was found.
        timed: Whether the last picture stands still where a live source skips frames, so that the film takes as long as
            what it shows.
        name: Name of the sink, where it is not ``video``.
    """

    takes_failed = False

    def __init__(self, reel: Reel, *, fps: float = 0.0, draw: bool = True, timed: bool = False, name: str = "") -> None:
        self.name = name or "video"
        self._reel = reel
        self._fps = fps
        self._draw = draw
        self._timed = timed
        self._overlay: Overlay | None = None
        self._size: tuple[int, int] | None = None
        self._base = self._last = 0.0

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        self._timed = self._timed and stream.live
        rate = stream.fps or _RATE
        # What cannot be shown is not encoded: each picture of a slow model would stand there a hundred times.
        self._fps = self._fps or (min(max(rate, _LIVE[0]), _LIVE[1]) if self._timed else rate)
        self._overlay = Overlay()
        self._reel.open(self._fps)

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        assert self._overlay is not None and frame.pixels is not None
        picture = self._overlay.draw(frame.bgr(), frame.detections if self._draw else None)
        if self._size is None:
            self._size = frame.size
        if not self._reel.count:
            self._base = frame.pts
        if frame.size != self._size:
            picture = fit(picture, self._size)
        self._reel.write(picture, self._times(frame.pts))

    def sync(self) -> None:
        """Forces what came out of the encoder onto the disk, from any thread."""
        self._reel.sync()

    def _times(self, pts: float) -> int:
        """How many times a picture is shown, so that the video keeps to the time of its source."""
        if not self._timed:
            return 1
        written = self._reel.count
        if pts < self._last:  # The source began anew.
            self._base = pts - written / self._fps
        self._last = pts
        due = round((pts - self._base) * self._fps) + 1 - written
        if due > _STILL * self._fps:
            self._base = pts - written / self._fps
            return 1
        return max(1, due)

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`."""
        self._reel.finish(missing)
