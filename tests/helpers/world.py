"""A clock that is set and a disk that stands still, for a real program, while it runs."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("world.c")


class World:
    """What a process sees of its wall clock and of the disk below a folder.

    Args:
        work: A folder for the library and the file that it listens to; it exists.
        slow: The folder whose disk may become slow.
    """

    def __init__(self, work: Path, slow: Path | None = None) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None or not sys.platform.startswith("linux"):
            pytest.skip("needs a C compiler on Linux")
        library, file = work / "world.so", work / "world"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl", "-lpthread"], check=True)
        file.write_bytes(bytes(16))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 16)
        self.environment = {"LD_PRELOAD": str(library), "WORLD_FILE": str(file)}
        if slow is not None:
            self.environment["WORLD_ROOT"] = str(slow.resolve())

    def set_clock(self, ahead: float) -> None:
        """Sets the wall clock so many seconds ahead of the true one, or behind it."""
        self._map[:8] = struct.pack("=q", round(ahead * 1e9))

    def slow_down(self, seconds: float) -> None:
        """Lets each write and sync take so much longer; 0 for as long as ever."""
        self._map[8:] = struct.pack("=q", round(seconds * 1e9))
