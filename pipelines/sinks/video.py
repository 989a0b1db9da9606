"""``overlay.mp4``: the frames with what was found drawn onto them, as a video."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame, Pixels
from lineside.pipelines.overlay import Overlay
from lineside.pipelines.sinks.part import part_name, put_in_place
from lineside.pipelines.sources.opencv import native_path, opencv
from lineside.runtime.errors import SinkError

__all__ = ["OverlayVideo", "find_ffmpeg", "fit"]

_RATE = 25.0
"""Frames per second where the source has no rate."""
_ENCODERS = ("libx264", "libopenh264")
"""H.264 encoders that the program ffmpeg may have; H.264 is what every browser plays."""


def find_ffmpeg() -> tuple[str, str] | None:
    """The program ``ffmpeg`` and the name of its H.264 encoder; None where either is missing."""
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    try:
        listed = subprocess.run(
            [program, "-hide_banner", "-encoders"], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return next(((program, name) for name in _ENCODERS if f" {name} " in listed), None)


class _Writer(Protocol):
    part: Path

    def write(self, picture: Pixels) -> None: ...

    def finish(self) -> None: ...


class OverlayVideo:
    """Writes an MP4: H.264 where the program ffmpeg is installed, else MPEG-4 part 2, which browsers do not play.

    All frames get the size of the first one; others are fitted into it. The file gets its name when it is complete.

    Args:
        path: Name of the file.
        ffmpeg: Program and encoder; looked up when None.
    """

    name = "video"
    takes_failed = False

    def __init__(self, path: Path, ffmpeg: tuple[str, str] | None = None) -> None:
        self._path = path
        self._ffmpeg = ffmpeg
        self._fps = _RATE
        self._overlay: Overlay | None = None
        self._writer: _Writer | None = None
        self._size = (0, 0)
        self._count = 0

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        self._fps = stream.fps or _RATE
        self._overlay = Overlay()
        self._ffmpeg = self._ffmpeg or find_ffmpeg()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}; name another place with --out") from error
        if not os.access(self._path.parent, os.W_OK):
            raise SinkError(f"cannot write {self._path}: the folder is read-only; name another place with --out")

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        assert self._overlay is not None and frame.pixels is not None
        picture = self._overlay.draw(frame.bgr(), frame.detections)
        if self._writer is None:
            self._size = frame.size
            self._writer = self._start(frame.size)
        self._writer.write(picture if frame.size == self._size else fit(picture, self._size))
        self._count += 1

    def _start(self, size: tuple[int, int]) -> _Writer:
        if self._ffmpeg is not None:
            return _Ffmpeg(self._ffmpeg, self._path, size, self._fps)
        return _OpenCv(self._path, size, self._fps)

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`.

        Raises:
            SinkError: The disk says no, or the encoder failed.
        """
        if self._writer is None:
            return
        try:
            self._writer.finish()
        except SinkError:
            if missing:  # It was said when the first frame was refused.
                return
            raise
        # On a full disk both writers may end as if all were well.
        if not _holds(self._writer.part, self._count):
            raise SinkError(
                f"the video {self._writer.part} does not hold the {self._count} frames written to it; "
                "free some space or name another place with --out"
            )
        if not missing:
            put_in_place(self._writer.part, self._path)
        self._writer = None


class _Ffmpeg:
    """The program ffmpeg, fed with raw pictures through a pipe."""

    def __init__(self, ffmpeg: tuple[str, str], path: Path, size: tuple[int, int], fps: float) -> None:
        program, encoder = ffmpeg
        self.part = part_name(path)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._failed: SinkError | None = None
        command = [program, "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24"]
        command += ["-s", f"{size[1]}x{size[0]}", "-r", f"{fps:.6g}", "-i", "-", "-an", "-threads", "2"]
        command += ["-c:v", encoder, *(("-preset", "veryfast", "-crf", "22") if encoder == "libx264" else ())]
        # H.264 in 4:2:0 takes even sides only; an odd picture gains a row or column.
        command += ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        # As an absolute file:, or else a colon or a dash in the name would mean something to ffmpeg.
        command += ["-f", "mp4", f"file:{self.part.absolute()}"]
        # In a session of its own, so that Ctrl-C on the terminal does not end it before its last frame.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log, start_new_session=True
        )

    def write(self, picture: Pixels) -> None:
        assert self._process.stdin is not None
        if self._failed is not None:
            raise self._failed
        try:
            self._process.stdin.write(np.ascontiguousarray(picture).data)
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
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # It has died already; its exit code says so below.
            self._process.stdin.close()
        try:
            code = self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        how = f"ffmpeg was ended by signal {-code}" if code < 0 else f"ffmpeg exited with {code}"
        reason = self._reason(how) if code else ""
        self._log.close()
        if not code:
            return None
        return SinkError(
            f"cannot write the video {self.part}: {reason}; free some space or name another place with --out"
        )

    def _reason(self, otherwise: str) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line for line in lines if line.strip()), otherwise)


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


def fit(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """A picture fitted into another size, black around it."""
    cv2 = opencv()
    scale = min(size[0] / picture.shape[0], size[1] / picture.shape[1])
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    out = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    out[top : top + height, left : left + width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return out
