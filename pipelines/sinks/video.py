"""A video that is whole or clearly unfinished: it gets its name when every frame is in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lineside.pipelines.frame import Pixels
from lineside.pipelines.sinks.ffmpeg import Ffmpeg, find_ffmpeg
from lineside.pipelines.sinks.part import part_name, put_in_place
from lineside.pipelines.sources.opencv import native_path, opencv
from lineside.runtime.errors import SinkError
from lineside.runtime.yuv import picture_size

__all__ = ["WholeVideo"]

_END = 60.0
"""Seconds that the encoder has for its last pictures."""


class _Writer(Protocol):
    part: Path

    def write(self, picture: Pixels) -> None: ...

    def finish(self) -> None: ...


class WholeVideo:
    """An MP4: H.264 where the program ffmpeg is installed, else MPEG-4 part 2, which browsers do not play.

    Args:
        path: Name of the file.
    """

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path = path
        self._fps = 0.0
        self._ffmpeg: tuple[str, str] | None = None
        self._writer: _Writer | None = None

    def open(self, fps: float) -> None:
        """See `Reel.open`."""
        self._fps = fps
        self._ffmpeg = find_ffmpeg()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}; name another place with --out") from error
        if not os.access(self._path.parent, os.W_OK):
            raise SinkError(f"cannot write {self._path}: the folder is read-only; name another place with --out")

    def write(self, picture: Pixels, times: int) -> None:
        """See `Reel.write`."""
        if self._writer is None:
            self._writer = self._start(picture_size(picture))
        for _ in range(times):
            self._writer.write(picture)
            self.count += 1

    def _start(self, size: tuple[int, int]) -> _Writer:
        if self._ffmpeg is not None:
            return _H264(self._ffmpeg, self._path, size, self._fps)
        return _OpenCv(self._path, size, self._fps)

    def sync(self) -> None:
        """Does nothing: before its end it is no video."""

    def finish(self, missing: int) -> None:
        """See `Reel.finish`."""
        if self._writer is None:
            return
        try:
            self._writer.finish()
        except SinkError:
            if missing:  # It was said when the first frame was refused.
                return
            raise
        # On a full disk both writers may end as if all were well.
        if not _holds(self._writer.part, self.count):
            raise SinkError(
                f"the video {self._writer.part} does not hold the {self.count} frames written to it; "
                "free some space or name another place with --out"
            )
        if not missing:
            put_in_place(self._writer.part, self._path)
        self._writer = None


class _H264:
    """The program ffmpeg, which writes the file itself."""

    def __init__(self, ffmpeg: tuple[str, str], path: Path, size: tuple[int, int], fps: float) -> None:
        self.part = part_name(path)
        self._failed: SinkError | None = None
        # As an absolute file:, or else a colon or a dash in the name would mean something to ffmpeg.
        out = ["-movflags", "+faststart", "-f", "mp4", f"file:{self.part.absolute()}"]
        self._program = Ffmpeg(ffmpeg, size, fps, out)

    def write(self, picture: Pixels) -> None:
        if self._failed is not None:
            raise self._failed
        try:
            self._program.write(np.ascontiguousarray(picture).data)
        except OSError:  # It has ended, and its exit code and last words say why.
            self._failed = self._end()
            if self._failed is not None:
                raise self._failed from None
            raise

    def finish(self) -> None:
        error = self._failed or self._end()
        if error is not None:
            raise error

    def _end(self) -> SinkError | None:
        """Waits for the end of the program; gives what went wrong."""
        self._program.shut()
        reason = self._program.end(_END)
        if not reason:
            return None
        return SinkError(
            f"cannot write the video {self.part}: {reason}; free some space or name another place with --out"
        )


class _OpenCv:
    """OpenCV's writer with MPEG-4 part 2, which its wheels always have."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        cv2 = opencv()
        # OpenCV chooses the container by the ending.
        self.part = path.with_name(f"{path.stem}.part{path.suffix}")
        self._writer: Any = cv2.VideoWriter(
            native_path(self.part), cv2.VideoWriter_fourcc(*"mp4v"), fps, (size[1], size[0])
        )
        if not self._writer.isOpened():
            raise SinkError(f"cannot write the video {self.part}: OpenCV cannot open it; is the folder writable?")

    def write(self, picture: Pixels) -> None:
        self._writer.write(picture)

    def finish(self) -> None:
        self._writer.release()


def _holds(path: Path, count: int) -> bool:
    """Whether a video has so many frames and the last one can be decoded."""
    cv2 = opencv()
    capture = cv2.VideoCapture(native_path(path))
    try:
        if int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) != count:
            return False
        capture.set(cv2.CAP_PROP_POS_FRAMES, count - 1)
        return bool(capture.read()[0])
    finally:
        capture.release()
