"""Video for months: fragments of an MP4, or a stream of JPEGs, in segments that play although somebody was cut off."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from lineside.pipelines.frame import Pixels
from lineside.pipelines.sinks.boxes import fragments, whole_fragments, whole_jpegs
from lineside.pipelines.sinks.ffmpeg import Ffmpeg
from lineside.pipelines.sinks.images import encoded
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.segments import Segments
from lineside.pipelines.sinks.world import World
from lineside.runtime.errors import SinkError
from lineside.runtime.yuv import picture_size

__all__ = ["Fragments", "Jpegs", "Reel"]

_END = 60.0
"""Seconds that the encoder has for its last pictures."""


class Reel(Protocol):
    """What pictures of one size become on the disk.

    Attributes:
        count: Pictures written so far.
    """

    count: int

    def open(self, fps: float) -> None:
        """Makes sure that it can be written.

        Args:
            fps: Pictures per second.

        Raises:
            SinkError: It cannot.
        """
        ...

    def write(self, picture: Pixels, times: int) -> None:
        """Adds a picture, which stands still for so many.

        Raises:
            SinkError: The disk says no, or the encoder failed.
        """
        ...

    def sync(self) -> None:
        """Forces what came out of the encoder onto the disk, from any thread."""
        ...

    def finish(self, missing: int) -> None:
        """Ends it. See `growing.RecordFile.finish`.

        Raises:
            SinkError: The disk says no, or the encoder failed.
        """
        ...


class Fragments:
    """H.264 in an MP4 of fragments of a second.

    A file may end after any fragment, so after a kill or a loss of power it plays up to a second, plus the time of a
    sync, before that.

    Args:
        path: Name of the file.
        rules: Segments, retention, syncs, floor.
        ffmpeg: Program and encoder.
        world: What it has around it.
    """

    def __init__(self, path: Path, rules: Rules, ffmpeg: tuple[str, str], world: World = World()) -> None:
        self.count = 0
        self._ffmpeg = ffmpeg
        self._fps = 0.0
        self._files = Segments(path, rules, whole=whole_fragments, world=world)
        self._encoder: _Encoder | None = None

    def open(self, fps: float) -> None:
        """See `Reel.open`."""
        self._fps = fps
        self._files.prepare()

    def write(self, picture: Pixels, times: int) -> None:
        """See `Reel.write`."""
        data = np.ascontiguousarray(picture).data
        for _ in range(times):
            if self._encoder is None:
                self._encoder = _Encoder(self._ffmpeg, self._files, picture_size(picture), self._fps)
            try:
                self._encoder.write(data)
            except SinkError:
                if self._encoder.ended:  # The next frame gets another one, and its pictures another file.
                    self._encoder = None
                raise
            self.count += 1

    def sync(self) -> None:
        """See `Reel.sync`."""
        self._files.sync()

    def finish(self, missing: int) -> None:
        """See `Reel.finish`."""
        try:
            if self._encoder is not None:
                self._encoder.finish()
        finally:
            self._files.finish(missing)


class Jpegs:
    """A stream of JPEGs.

    Args:
        path: Name of the file; its ending becomes ``.mjpeg``.
        rules: Segments, retention, syncs, floor.
        world: What it has around it.
    """

    def __init__(self, path: Path, rules: Rules, world: World = World()) -> None:
        self.count = 0
        self._files = Segments(path.with_suffix(".mjpeg"), rules, whole=whole_jpegs, world=world)

    def open(self, fps: float) -> None:
        """See `Reel.open`."""
        self._files.prepare()

    def write(self, picture: Pixels, times: int) -> None:
        """See `Reel.write`."""
        ending, data = encoded(picture)
        if ending != ".jpg":
            height, width = picture_size(picture)
            raise SinkError(f"a picture of {width} x {height} pixels is too large for Motion JPEG")
        for _ in range(times):
            self._files.write(data)
            self.count += 1

    def sync(self) -> None:
        """See `Reel.sync`."""
        self._files.sync()

    def finish(self, missing: int) -> None:
        """See `Reel.finish`."""
        self._files.finish(missing)


class _Encoder:
    """The program ffmpeg: raw pictures go in through one pipe, fragments come out of another and into the files."""

    def __init__(self, ffmpeg: tuple[str, str], files: Segments, size: tuple[int, int], fps: float) -> None:
        self._files = files
        self._failure: SinkError | None = None
        self.ended = False
        # A key frame, and with it a fragment, each second; no frame waits for a later one.
        out = ["-bf", "0", "-g", str(max(1, round(fps)))]
        out += ["-movflags", "+empty_moov+default_base_moof+frag_keyframe", "-f", "mp4", "pipe:1"]
        self._program = Ffmpeg(ffmpeg, size, fps, out, subprocess.PIPE)
        self._pump = threading.Thread(target=self._take, name="film", daemon=True)
        self._pump.start()

    def write(self, data: memoryview) -> None:
        """Encodes a picture.

        Raises:
            SinkError: It cannot, or an earlier one could not be written.
        """
        try:
            self._program.write(data)
        except OSError:
            reason = self.finish() or "it takes no more pictures"
            raise SinkError(f"ffmpeg has ended: {reason}; it is started anew") from None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _take(self) -> None:
        """Thread of the fragments. Goes on where the disk says no, or else the encoder would stand still."""
        for first, piece in fragments(self._program.output):
            self._put(self._files.turn if first else self._files.write, piece)

    def _put(self, put: Callable[[bytes], None], piece: bytes) -> None:
        try:
            put(piece)
        except SinkError as error:
            self._failure = error

    def finish(self) -> str:
        """Lets it encode what it has, and waits for its end.

        Returns:
            What went wrong with the program; empty where nothing did.

        Raises:
            SinkError: What it gave last could not be written.
        """
        self.ended = True
        self._program.shut()
        self._pump.join(_END)
        reason = self._program.end(1 if self._pump.is_alive() else _END)
        self._pump.join(_END)
        if self._failure is not None:
            raise self._failure
        return reason
