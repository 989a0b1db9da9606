"""``lineside run`` as a process, and what must hold of its output and its files however it ends."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openpyxl
import pytest

from lineside.pipelines.records import COLUMNS
from lineside.pipelines.sinks import FILES

ALL = tuple(f"--save-{name}" for name in FILES)


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code, summary (empty where none was printed), lines of the standard error output."""

    code: int
    summary: dict[str, Any]
    errors: list[str]

    @property
    def counts(self) -> dict[str, Any]:
        counts: dict[str, Any] = self.summary["counts"]
        return counts


def words(bundle: str | Path, *more: str | Path) -> list[str]:
    """The command line of a run that prints its summary as JSON."""
    return [sys.executable, "-m", "lineside", "run", str(bundle), "--json", *map(str, more)]


def run(
    bundle: str | Path, *more: str | Path, cwd: Path, prefix: Sequence[str] = (), timeout: float = 300, **options: Any
) -> Ended:
    """Runs to the end; ``prefix`` is a program in front of it."""
    command = [*prefix, *words(bundle, *more)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=timeout, check=False, **options)
    return ended(done.returncode, done.stdout.decode(), done.stderr.decode(errors="backslashreplace"))


def ended(code: int, out: str, errors: str) -> Ended:
    """Checks what holds of every run: no traceback, counts that add up, an exit code that agrees with them."""
    assert "Traceback" not in errors and "Exception ignored" not in errors, errors
    summary = json.loads(out) if out else {}
    if summary:
        counts = summary["counts"]
        lost = sum(counts["dropped"].values()) + sum(
            counts[name] for name in ("late", "incomplete", "never_inspected", "failed", "in_flight")
        )
        assert counts["entered"] == counts["inspected"] + lost
        assert code == (0 if summary["complete"] else 1), errors
    else:
        assert code not in (0, 1), errors
    return Ended(code, summary, errors.splitlines())


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file, each whole."""
    text = path.read_text()
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def sound(folder: Path) -> dict[str, list[int]]:
    """Reads everything in a folder of results that has a final name, and the tables that have not.

    Returns:
        Numbers of the frames in each, by file name. Where a frame may have nothing in a file, those that have.
    """
    found: dict[str, list[int]] = {}
    for path in sorted(folder.iterdir()):
        kind = path.name.removesuffix(".part")
        if kind == FILES["jsonl"]:
            found[path.name] = [line["frame"] for line in records(path)]
        elif kind == FILES["csv"]:
            found[path.name] = _csv(path)
        elif path.name == FILES["coco"]:
            found[path.name] = _coco(path)
        elif path.name == FILES["xlsx"]:
            found[path.name] = [row[0] for row in openpyxl.load_workbook(path)["Detections"].values][1:]
        elif kind == FILES["images"]:
            pictures = sorted(path.glob("*.jpg"))
            assert all(cv2.imdecode(np.fromfile(it, np.uint8), cv2.IMREAD_COLOR) is not None for it in pictures)
            assert all(it in pictures or it.suffix == ".part" for it in path.iterdir())
            found[path.name] = [int(picture.name[:6]) for picture in pictures]
        elif path.name == FILES["video"]:
            found[path.name] = list(range(frames_of(path)))
        else:
            assert ".part" in path.name or path.name.startswith("unfinished-"), path
    return found


def _csv(path: Path) -> list[int]:
    with path.open(newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    assert not table or tuple(table[0]) == COLUMNS
    assert all(len(row) == len(COLUMNS) for row in table)
    return [int(row[0]) for row in table[1:]]


def _coco(path: Path) -> list[int]:
    content = json.loads(path.read_text())
    numbers = [picture["id"] for picture in content["images"]]
    assert {it["image_id"] for it in content["annotations"]} <= set(numbers)
    return numbers


def frames_of(path: Path) -> int:
    """Frames of a video that can be decoded."""
    capture, count = cv2.VideoCapture(os.fsencode(path)), 0
    while capture.read()[0]:
        count += 1
    return count


def fill(disk: Path, name: str) -> int:
    """Fills a disk with a file, but for two blocks, while others may write to it. Returns the open file."""
    descriptor = os.open(disk / name, os.O_WRONLY | os.O_CREAT)
    while True:
        room = os.statvfs(disk)
        if room.f_bavail <= 2:
            return descriptor
        try:
            os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size + (room.f_bavail - 2) * room.f_frsize)
        except OSError as error:
            if error.errno != errno.ENOSPC:  # Else another has taken of that room meanwhile.
                raise


@contextmanager
def small_disk(place: Path, size: int, free: int) -> Iterator[Path]:
    """A disk of its own of so many bytes, of which so many are free; the rest is in the file ``ballast``.

    Skips the test where this user cannot mount one.
    """
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={size}", "lineside-test", str(place)]
    if os.geteuid() or subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk (root)")
    try:
        (place / "ballast").write_bytes(bytes(size - free))
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
