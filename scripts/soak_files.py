"""The soak's station file, and whether what it leaves behind is readable and no more than is to be kept."""

from __future__ import annotations

import csv
import json
import sqlite3
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lineside.pipelines.sources.replay import Replay

ROOT = Path(__file__).resolve().parents[1]
ELEMENTS = Path(__file__).with_name("soak_elements.py")
KEPT = 2_000_000
"""Bytes that each sink keeps."""
KEEPING: dict[str, Any] = {"floor": "10MB", "sync": "1s", "keep_size": f"{KEPT}B"}
ROTATING = {**KEEPING, "rotate": "5s"}

SINKS: dict[str, dict[str, Any]] = {
    "base": {"sqlite": {"path": "base.sqlite", **KEEPING}},
    "lines": {"jsonl": {"path": "lines.jsonl", **ROTATING}},
    "table": {"csv": {"path": "table.csv", **ROTATING}},
    "book": {"xlsx": {"path": "book.xlsx", **ROTATING}},
    "marks": {"coco": {"path": "marks.json", **ROTATING}},
    "shots": {"images": {"path": "shots", "nth": 4, **ROTATING}},
    "film": {"video": {"path": "film.mp4", "codec": "mjpeg", "fps": 10, **ROTATING}},
    "session": {"record": {"path": "session", **ROTATING}},
}
"""Every sink that writes to a disk. `film` and `session` are one for each camera."""


def station_file(folder: Path, cameras: Sequence[str], moods: Path) -> Path:
    """Writes the station file.

    Args:
        folder: Where it and its results lie.
        cameras: Names of the cameras.
        moods: Folder of the moods.
    """
    own = {name: {f"{ELEMENTS}:Camera": {"name": name, "moods": str(moods)}} for name in cameras}
    model = {"segment": {"bundle": str(ROOT / "demo" / "bearing.bundle"), "engine": "recorded", "masks": "proto"}}
    step = {f"{ELEMENTS}:Step": {"name": "step", "moods": str(moods)}}
    balky = {f"{ELEMENTS}:Sink": {"name": "balky", "moods": str(moods)}}
    first, second, *rest = cameras
    links = [
        f"{first} ! queue policy=latest ! step ! model",
        f"{second} ! queue policy=every:50 ! model",
        *(f"{name} ! queue policy=drop-oldest:4 ! model" for name in rest),
        "model ! queue policy=drop-oldest:16 ! balky",
        *(f"model ! queue policy=drop-oldest:64 ! {name}" for name in SINKS),
    ]
    elements = {**own, "step": step, "model": model, "balky": balky, **SINKS}
    file = folder / "soak.yaml"
    text = {"station": 1, "name": "soak", "elements": elements, "links": links}
    file.write_text(json.dumps({**text, "takt": {"deadline": "2s", "late": "mark"}}))
    return file


def check_files(folder: Path) -> Iterator[str]:
    """What is wrong with what a station has left in a folder."""
    readers: dict[str, tuple[str, Callable[[Path], object]]] = {
        "lines": ("lines-*.jsonl", lambda path: [json.loads(line) for line in path.read_text().splitlines()]),
        "table": ("table-*.csv", _table),
        "book": ("book-*.xlsx", _book),
        "marks": ("marks-*.json", lambda path: json.loads(path.read_text())["images"]),
        "shots": ("shots/*", lambda path: [_ends(it, b"\xff\xd9") for it in path.iterdir()]),
        "film": ("film-*-*.mjpeg", lambda path: _ends(path, b"\xff\xd9")),
    }
    for name, (pattern, read) in readers.items():
        found = [it for it in sorted(folder.glob(pattern)) if not it.name.endswith(".part")]
        if not found:
            yield f"{name} has left nothing"
        yield from filter(None, (_refused(path, read) for path in found))
    yield from _kept(folder)
    yield from _sessions(folder)
    if left := sorted(it.name for it in folder.rglob("*.part")):
        yield f"unfinished files are left: {', '.join(left[:5])}"
    base = sqlite3.connect(folder / "base.sqlite")
    if base.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
        yield "the database is damaged"
    if not base.execute("SELECT count(*) FROM frames").fetchone()[0]:
        yield "the database is empty"
    base.close()


def _refused(path: Path, read: Callable[[Path], object]) -> str:
    """What a reader says to a file; empty where it takes it."""
    try:
        read(path)
    except Exception as error:  # whatever it says to a damaged file
        return f"{path.name} cannot be read: {error}"
    return ""


def _table(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.reader(file, strict=True))
    if any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("a row is cut off")


def _book(path: Path) -> None:
    with zipfile.ZipFile(path) as book:
        if bad := book.testzip():
            raise ValueError(f"{bad} is damaged")


def _ends(path: Path, ending: bytes) -> None:
    if not path.read_bytes().endswith(ending):
        raise ValueError(f"{path.name} is cut off")


def _sessions(folder: Path) -> Iterator[str]:
    """Recorded sessions that cannot be played again."""
    found = sorted(folder.glob("session-*"))
    if not found:
        yield "session has left nothing"
    yield from filter(None, (_refused(path, _play) for path in found))


def _play(path: Path) -> None:
    source = Replay(path)
    source.open()
    for frame in source.frames():
        frame.release()
    source.close()


def _kept(folder: Path) -> Iterator[str]:
    """Sinks that keep more than they should: what is allowed, and the segment that was written last."""
    patterns = ["lines-*", "table-*", "book-*", "marks-*", "shots/*"]
    for kind in ("film", "session"):
        names = {it.name.split("-")[1].split(".")[0] for it in folder.glob(f"{kind}-*")}
        patterns += [f"{kind}-{name}/*" if kind == "session" else f"{kind}-{name}*" for name in sorted(names)]
    for pattern in patterns:
        sizes = [_size(it) for it in folder.glob(pattern)]
        if sum(sizes) > KEPT + 2 * max(sizes, default=0):
            yield f"{pattern} takes {sum(sizes)} bytes, and {KEPT} are to be kept"


def _size(path: Path) -> int:
    return sum(it.stat().st_size for it in path.rglob("*")) if path.is_dir() else path.stat().st_size
