"""What a process does to a disk, as its operating system sees it: for programs that cannot be given a disk of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.power import Op

_SOURCE = Path(__file__).with_name("disk_calls.c")


def traced(code: str, root: Path, *words: str, work: Path) -> list[Op]:
    """Runs Python code and gives what it did below a folder.

    What the code writes to the file ``marks`` in that folder, a kind and a number in each write, becomes marks.

    Args:
        code: The code.
        root: The folder; it exists.
        *words: Arguments for the code.
        work: A folder for the tracer.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler on Linux")
    library, trace = work / "disk_calls.so", work / "trace"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl", "-lpthread"], check=True)
    tests = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": tests, "LD_PRELOAD": str(library)}
    environment |= {"TRACE_ROOT": str(root), "TRACE_FILE": str(trace)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return _Reader(root).read(trace.read_bytes())


class _Reader:
    """Reads a trace."""

    def __init__(self, root: Path) -> None:
        self._marks = root / "marks"
        self._ops: list[Op] = []
        self._handles: dict[str, int | Path] = {}
        self._names: dict[Path, int] = {}
        self._count = 0

    def read(self, data: bytes) -> list[Op]:
        place = 0
        while place < len(data):
            end = data.index(b"\n", place)
            kind, *words = data[place:end].decode().split()
            place = end + 1
            if kind == "write":
                size = int(words[2])
                self._write(words, data[place : place + size])
                place += size
            else:
                getattr(self, f"_{kind}")(*words)
        return self._ops

    def _open(self, handle: str, created: str, name: str) -> None:
        path = Path(name)
        if created == "1":
            self._count += 1
            self._names[path] = self._count
            self._ops.append(Op("create", path, self._count))
        self._handles[handle] = self._names.get(path, path)

    def _write(self, words: list[str], data: bytes) -> None:
        file = self._handles[words[0]]
        if file == self._names.get(self._marks):
            kind, number = data.split()
            self._ops.append(Op(kind.decode(), int(number)))
        else:
            self._ops.append(Op("write at", file, (int(words[1]), data)))

    def _close(self, handle: str) -> None:
        self._handles.pop(handle, None)

    def _cut(self, handle: str, size: str) -> None:
        self._ops.append(Op("truncate", self._handles[handle], int(size)))

    def _sync(self, handle: str) -> None:
        file = self._handles[handle]
        self._ops.append(Op("sync folder" if isinstance(file, Path) else "sync", file))

    def _rename(self, old: str, new: str) -> None:
        file = self._names[Path(new)] = self._names.pop(Path(old))
        self._ops.append(Op("rename", (Path(old), Path(new)), file))

    def _unlink(self, path: str) -> None:
        self._names.pop(Path(path), None)
        self._ops.append(Op("unlink", Path(path)))

    def _folder(self, path: str) -> None:
        self._ops.append(Op("folder", Path(path)))
