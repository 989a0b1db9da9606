"""The program ffmpeg: raw pictures go in, H.264 comes out."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from typing import IO

from lineside.pipelines.tails import take_from_realtime

__all__ = ["Ffmpeg", "find_ffmpeg"]

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


class Ffmpeg:
    """A running encoder.

    Args:
        ffmpeg: Program and encoder, as from `find_ffmpeg`.
        size: Height and width of all pictures.
        fps: Frames per second.
        out: What it is told about what comes out.
        stdout: Where its output goes, as for `subprocess.Popen`.
    """

    def __init__(
        self,
        ffmpeg: tuple[str, str],
        size: tuple[int, int],
        fps: float,
        out: list[str],
        stdout: int = subprocess.DEVNULL,
    ) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            _command(ffmpeg, size, fps, out),
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=self._log,
            start_new_session=True,  # So that Ctrl-C on the terminal does not end it before its last frame.
        )
        take_from_realtime(self._process.pid)

    @property
    def output(self) -> IO[bytes]:
        """What comes out, where that goes into a pipe."""
        assert self._process.stdout is not None
        return self._process.stdout

    def write(self, data: bytes | memoryview) -> None:
        """Encodes a picture: its ``(H, W, 3)`` BGR bytes.

        Raises:
            OSError: The program has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def shut(self) -> None:
        """Says that no further picture comes."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # It has died already; its exit code says so.
            self._process.stdin.close()

    def end(self, patience: float) -> str:
        """Waits for its end, and gives it up where that takes too long.

        Args:
            patience: Seconds that it has.

        Returns:
            What went wrong, in its own words where it had any; empty where nothing did.
        """
        try:
            code = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return self._last_words(code) if code else ""

    def _last_words(self, code: int) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        how = f"ffmpeg was ended by signal {-code}" if code < 0 else f"ffmpeg exited with {code}"
        return next((line for line in lines if line.strip()), how)


def _command(ffmpeg: tuple[str, str], size: tuple[int, int], fps: float, out: list[str]) -> list[str]:
    program, encoder = ffmpeg
    command = [program, "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24"]
    command += ["-s", f"{size[1]}x{size[0]}", "-r", f"{fps:.6g}", "-i", "-", "-an", "-threads", "2"]
    command += ["-c:v", encoder, *(("-preset", "veryfast", "-crf", "22") if encoder == "libx264" else ())]
    # H.264 in 4:2:0 takes even sides only; an odd picture gains a row or column.
    return [*command, "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", *out]
