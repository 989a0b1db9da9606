"""Video for months: pictures with what was found drawn onto them, in segments that play although somebody was cut off."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Annotated, Literal

import msgspec
import numpy as np

from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.overlay import Overlay
from lineside.pipelines.sinks.boxes import fragments, whole_fragments, whole_jpegs
from lineside.pipelines.sinks.images import encoded
from lineside.pipelines.sinks.lasting import Lasting, Rules
from lineside.pipelines.sinks.segments import Segments
from lineside.pipelines.sinks.video import find_ffmpeg, fit
from lineside.pipelines.sinks.world import World, world_of
from lineside.pipelines.tails import take_from_realtime
from lineside.runtime.errors import SinkError

__all__ = ["Film", "FilmFile", "make"]

_RATE = 25.0
_STILL = 2.0
"""Longest stretch, in seconds, for which the last picture stands still where none came; what is longer is cut out."""
_END = 60.0
"""Seconds that the encoder has for its last pictures."""


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
    path, rules = place.path(options.path), options.rules()
    return Film(path, rules, ffmpeg, fps=options.fps, draw=options.draw, world=world_of(place), name=place.name)


class Film:
    """Writes an MP4 of fragments of a second, or a stream of JPEGs.

    A file may end after any fragment, so after a kill or a loss of power it plays up to a second, plus the time of a
    sync, before that. Frames get the size of the first; where a live source skips frames, the last one stands still.

    Args:
        path: Name of the file.
        rules: Segments, retention, syncs, floor.
        ffmpeg: Program and encoder; None for Motion JPEG.
        fps: Frames per second; 0 for those of the source.
        draw: Whether to draw what was found.
        world: What it has around it.
        name: Name of the sink.
    """

    takes_failed = False

    def __init__(
        self,
        path: Path,
        rules: Rules,
        ffmpeg: tuple[str, str] | None,
        *,
        fps: float = 0.0,
        draw: bool = True,
        world: World = World(),
        name: str = "",
    ) -> None:
        self.name = name or "video"
        self._ffmpeg = ffmpeg
        whole: Callable[[Path], int] = whole_fragments if ffmpeg else whole_jpegs
        self._path = path if ffmpeg else path.with_suffix(".mjpeg")
        self._files = Segments(self._path, rules, whole=whole, world=world)
        self._fps = fps
        self._draw = draw
        self._live = False
        self._overlay: Overlay | None = None
        self._encoder: _Encoder | None = None
        self._size = (0, 0)
        self._written = 0
        self._base = self._last = 0.0

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        self._fps = self._fps or stream.fps or _RATE
        self._live = stream.live
        self._overlay = Overlay()
        self._files.prepare()

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        assert self._overlay is not None and frame.pixels is not None
        picture = self._overlay.draw(frame.bgr(), frame.detections if self._draw else None)
        if not self._written:
            self._size, self._base = frame.size, frame.pts
        if frame.size != self._size:
            picture = fit(picture, self._size)
        if self._ffmpeg is None:
            ending, data = encoded(picture)
            if ending != ".jpg":
                raise SinkError(f"a picture of {frame.size[1]} x {frame.size[0]} pixels is too large for Motion JPEG")
        else:
            if self._encoder is None:
                self._encoder = _Encoder(self._ffmpeg, self._files, self._size, self._fps)
            data = np.ascontiguousarray(picture).tobytes()
        for _ in range(self._times(frame.pts)):
            self._add(data)
            self._written += 1

    def sync(self) -> None:
        """Forces what came out of the encoder onto the disk, from any thread."""
        self._files.sync()

    def _add(self, data: bytes) -> None:
        if self._encoder is None:
            self._files.write(data)
            return
        try:
            self._encoder.write(data)
        except SinkError:
            if self._encoder.ended:  # The next frame gets another one, and its pictures another file.
                self._encoder = None
            raise

    def _times(self, pts: float) -> int:
        """How many times a picture is shown, so that the video keeps to the time of its source."""
        if not self._live:
            return 1
        if pts < self._last:  # The source began anew.
            self._base = pts - self._written / self._fps
        self._last = pts
        due = round((pts - self._base) * self._fps) + 1 - self._written
        if due > _STILL * self._fps:
            self._base = pts - self._written / self._fps
            return 1
        return max(1, due)

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`."""
        try:
            if self._encoder is not None:
                self._encoder.finish()
        finally:
            self._files.finish(missing)


class _Encoder:
    """The program ffmpeg: raw pictures go in through one pipe, fragments come out of another and into the files."""

    def __init__(self, ffmpeg: tuple[str, str], files: Segments, size: tuple[int, int], fps: float) -> None:
        self._files = files
        self._failure: SinkError | None = None
        self.ended = False
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            _command(ffmpeg, size, fps),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # So that Ctrl-C on the terminal does not end it before its last frame.
        )
        take_from_realtime(self._process.pid)
        self._pump = threading.Thread(target=self._take, name="film", daemon=True)
        self._pump.start()

    def write(self, data: bytes) -> None:
        """Encodes a picture.

        Raises:
            SinkError: It cannot, or an earlier one could not be written.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except OSError:
            self.finish()
            raise SinkError(f"ffmpeg has ended: {self._reason()}; it is started anew") from None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _take(self) -> None:
        """Thread of the fragments. Goes on where the disk says no, or else the encoder would stand still."""
        assert self._process.stdout is not None
        for first, piece in fragments(self._process.stdout):
            self._put(self._files.turn if first else self._files.write, piece)

    def _put(self, put: Callable[[bytes], None], piece: bytes) -> None:
        try:
            put(piece)
        except SinkError as error:
            self._failure = error

    def finish(self) -> None:
        """Lets it encode what it has, and waits for its end.

        Raises:
            SinkError: What it gave last could not be written.
        """
        assert self._process.stdin is not None
        self.ended = True
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._pump.join(_END)
        if self._process.poll() is None:
            try:
                self._process.wait(1 if self._pump.is_alive() else _END)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._pump.join(_END)
        if self._failure is not None:
            raise self._failure

    def _reason(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line for line in lines if line.strip()), f"exit code {self._process.returncode}")


def _command(ffmpeg: tuple[str, str], size: tuple[int, int], fps: float) -> list[str]:
    program, encoder = ffmpeg
    command = [program, "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "bgr24"]
    command += ["-s", f"{size[1]}x{size[0]}", "-r", f"{fps:.6g}", "-i", "-", "-an", "-threads", "2"]
    command += ["-c:v", encoder, *(("-preset", "veryfast", "-crf", "22") if encoder == "libx264" else ())]
    # A key frame, and with it a fragment, each second; no frame waits for a later one.
    command += ["-bf", "0", "-g", str(max(1, round(fps)))]
    # H.264 in 4:2:0 takes even sides only; an odd picture gains a row or column.
    command += ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]
    return [*command, "-movflags", "+empty_moov+default_base_moof+frag_keyframe", "-f", "mp4", "pipe:1"]
