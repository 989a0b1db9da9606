"""What the sinks of a station have written is there after the power went, at whichever moment and however much was lost."""

from __future__ import annotations

import csv
import json
import random
import sqlite3
import threading
from collections.abc import Callable, Hashable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import openpyxl
import pytest

from helpers.disk_calls import traced
from helpers.inspected import BEGAN, inspected
from helpers.power import Names, RecordingDisk, Wreck, moments
from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.overlay import Overlay
from lineside.pipelines.records import COLUMNS, record, rows
from lineside.pipelines.sinks import csv as csv_sink
from lineside.pipelines.sinks import journal
from lineside.pipelines.sinks.boxes import whole_jpegs
from lineside.pipelines.sinks.disk import Disk
from lineside.pipelines.sinks.events import EventLines
from lineside.pipelines.sinks.film import Film
from lineside.pipelines.sinks.gallery import Choice, Gallery
from lineside.pipelines.sinks.growing import quiet
from lineside.pipelines.sinks.images import encoded
from lineside.pipelines.sinks.jsonl import JsonLines
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.naming import PART
from lineside.pipelines.sinks.record import Record
from lineside.pipelines.sinks.reels import Jpegs
from lineside.pipelines.sinks.segments import Segments
from lineside.pipelines.sinks.sqlite import Sqlite
from lineside.pipelines.sinks.whole import read_lines, whole_lines, whole_rows
from lineside.pipelines.sinks.world import World
from lineside.pipelines.sources.replay import Replay
from lineside.runtime.errors import SourceError

STREAM = StreamInfo("test", "camera", live=True, fps=25.0)
NEW = 900
"""Number of the frame that is written after the mending."""


class Clock:
    """A wall clock that the test sets."""

    def __init__(self) -> None:
        self.time = BEGAN

    def __call__(self) -> float:
        return self.time


class Made(NamedTuple):
    """A sink, and what forces its files onto the disk."""

    sink: Any
    sync: Callable[[], None]


class Told:
    """The events of a station as a sink: of each frame one is told, and waited for."""

    def __init__(self, files: Segments) -> None:
        self._written, write = threading.Semaphore(0), files.write

        def noted(data: bytes) -> None:
            write(data)
            self._written.release()

        files.write = noted  # type: ignore[method-assign]
        self._lines = EventLines(files, quiet, "lines")

    def open(self, stream: StreamInfo) -> None:
        self._lines.open()

    def write(self, frame: Frame) -> None:
        self._lines.hear(event_of(frame))
        assert self._written.acquire(timeout=120)

    def close(self, missing: int = 0) -> None:
        self._lines.close()


def event_of(frame: Frame) -> Event:
    return Event("warning", "top", "told", f"„{frame.name}“ is number {frame.sequence}", frame.wall)


class Case(NamedTuple):
    """A sink under test: what makes it, what it should have written for a frame, and what is found in its place."""

    make: Callable[[Path, Disk, Clock], Made]
    expected: Callable[[Frame], list[Hashable]]
    found: Callable[[Path], list[Hashable]]


def segments(path: Path, disk: Disk, clock: Clock, **kind: Any) -> Segments:
    return Segments(path, Rules(rotate_s=10.0, rotate_bytes=6000), world=World(disk=disk, now=clock), **kind)


def jsonl(folder: Path, disk: Disk, clock: Clock) -> Made:
    files = segments(folder / "r.jsonl", disk, clock, whole=whole_lines)
    return Made(JsonLines(folder / "r.jsonl", files.open), files.sync)


def events(folder: Path, disk: Disk, clock: Clock) -> Made:
    files = segments(folder / "r.jsonl", disk, clock, whole=whole_lines)
    return Made(Told(files), files.sync)


def event_line(frame: Frame) -> list[Hashable]:
    return [json.dumps(asdict(event_of(frame)), sort_keys=True)]


def line(frame: Frame) -> list[Hashable]:
    return [json.dumps(record(frame) | {"model": frame.model, "wall": round(frame.wall, 3)}, sort_keys=True)]


def lines(folder: Path) -> list[Hashable]:
    found: list[Any] = []
    for path in folder.glob("r*.jsonl*"):
        # Whatever has its name is whole, so that any reader will do.
        found += read_lines(path) if path.suffix == PART else map(json.loads, path.read_text().splitlines())
    return [json.dumps(it, sort_keys=True) for it in found]


def table(folder: Path, disk: Disk, clock: Clock) -> Made:
    files = segments(folder / "r.csv", disk, clock, whole=whole_rows, header=(",".join(COLUMNS) + "\r\n").encode())
    return Made(csv_sink.Csv(folder / "r.csv", files.open), files.sync)


def table_rows(frame: Frame) -> list[Hashable]:
    return [tuple("" if cell is None else str(cell) for cell in row) for row in rows(frame)]


def rows_found(folder: Path) -> list[Hashable]:
    found: list[Hashable] = []
    for path in folder.glob("r*.csv*"):
        data = path.read_bytes()
        if path.suffix == PART:
            data = data[: whole_rows(path)]
        read = list(csv.reader(data.decode().splitlines(), strict=True))
        assert not read or tuple(read[0]) == COLUMNS
        found += map(tuple, read[1:])
    return found


def images(folder: Path, disk: Disk, clock: Clock) -> Made:
    sink = Gallery(folder, Rules(rotate_s=10.0), Choice(), world=World(disk=disk, now=clock))
    return Made(sink, sink.sync)


def image(frame: Frame) -> list[Hashable]:
    assert frame.pixels is not None
    return [(f"{frame.sequence:06d}.jpg", encoded(Overlay().draw(frame.pixels, frame.detections))[1])]


def images_found(folder: Path) -> list[Hashable]:
    return [(path.name[-10:], path.read_bytes()) for path in folder.rglob("*.jpg")]


def session(folder: Path, disk: Disk, clock: Clock) -> Made:
    sink = Record(folder, Rules(rotate_s=10.0), world=World(disk=disk, now=clock))
    return Made(sink, sink.sync)


def recorded(frame: Frame) -> list[Hashable]:
    assert frame.pixels is not None
    return [(frame.pts, frame.wall, frame.trigger, frame.part, frame.encoder, frame.pixels.tobytes())]


def replayed(folder: Path) -> list[Hashable]:
    source = Replay(folder)
    try:
        source.open()
    except SourceError:
        return []
    return [it for frame in source.frames() for it in recorded(frame)]


def film(folder: Path, disk: Disk, clock: Clock) -> Made:
    sink = Film(Jpegs(folder / "r.mp4", Rules(rotate_s=10.0), World(disk=disk, now=clock)), fps=1.0, timed=True)
    return Made(sink, sink.sync)


def shot(frame: Frame) -> list[Hashable]:
    return [jpeg for _, jpeg in image(frame)]  # type: ignore[misc]


def shots(folder: Path) -> list[Hashable]:
    found: list[Hashable] = []
    for path in folder.glob("r*.mjpeg*"):
        data = path.read_bytes()
        assert path.suffix == PART or whole_jpegs(path) == len(data)
        data = data[: whole_jpegs(path)]
        found += [b"\xff\xd8" + it for it in data.split(b"\xff\xd8")[1:]]
    return found


CASES = {
    "jsonl": Case(jsonl, line, lines),
    "events": Case(events, event_line, lines),
    "csv": Case(table, table_rows, rows_found),
    "images": Case(images, image, images_found),
    "record": Case(session, recorded, replayed),
    "film": Case(film, shot, shots),
}


@pytest.mark.parametrize("names", ["ordered", "any"])
@pytest.mark.parametrize("name", CASES)
def test_after_a_loss_of_power_all_that_was_synced_is_there_and_nothing_in_part(
    tmp_path: Path, name: str, names: Names
) -> None:
    case, disk, clock, folder = CASES[name], RecordingDisk(), Clock(), tmp_path / "station"
    frames = [inspected(k) for k in range(24)]
    made = case.make(folder, disk, clock)
    made.sink.open(STREAM)
    for k, frame in enumerate(frames):
        clock.time += 1
        made.sink.write(frame)
        disk.mark("written", k)
        if k % 6 == 1 and k < 18:  # Segments end long after a sync, the last one without any: they sync by themselves.
            made.sync()
            disk.mark("synced", k)
    made.sink.close()
    disk.mark("synced", len(frames) - 1)
    expected = [case.expected(frame) for frame in frames]
    assert sorted(case.found(folder)) == sorted(it for them in expected for it in them)

    rng, lost = random.Random(1), 0
    for number, moment in enumerate(moments(disk.trace, rng, 70)):
        done = disk.trace[:moment]
        safe = max((op.what for op in done if op.kind == "synced"), default=-1)
        begun = max((op.what for op in done if op.kind == "written"), default=-1) + 1
        place = tmp_path / f"wreck{number}"
        place.mkdir()
        Wreck(done).build(rng, names, folder, place)
        lost += check(case, place, expected, safe, begun)
        clock.time += 100
        restart(case, place, clock, expected[: begun + 1], safe, rng, names)
    assert lost > 10, "the wrecks are no wrecks"


def restart(
    case: Case, place: Path, clock: Clock, expected: list[list[Hashable]], safe: int, rng: random.Random, names: Names
) -> None:
    """The next start of the station puts everything in order and goes on, also where the power goes again in that."""
    disk, new = RecordingDisk(place), inspected(NEW)
    began = len(disk.trace)
    sink = case.make(place, disk, clock).sink
    sink.open(STREAM)
    mended = len(disk.trace)
    sink.write(new)
    sink.close()
    assert not list(place.rglob(f"*{PART}"))
    expected = [*expected, case.expected(new)]
    check(case, place, expected, safe, len(expected))
    assert set(case.expected(new)) <= set(case.found(place))
    once_more = place.with_name(f"{place.name}-again")
    once_more.mkdir()
    Wreck(disk.trace[: rng.randint(began, mended)]).build(rng, names, place, once_more)
    check(case, once_more, expected, safe, len(expected))


def check(case: Case, place: Path, expected: list[list[Hashable]], safe: int, begun: int) -> bool:
    """All of the first frames are there, and of the rest only what was written, each once. Gives whether some is lost."""
    found = case.found(place)
    assert len(found) == len(set(found)), "a record is there twice"
    must = {it for them in expected[: safe + 1] for it in them}
    may = {it for them in expected[: begun + 1] for it in them}
    assert must <= set(found), f"{len(must - set(found))} records are lost although they were synced"
    assert set(found) <= may, "a record was read that nobody wrote"
    return set(found) != {it for them in expected[:begun] for it in them}


def test_a_picture_recorded_keeps_every_value(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, size, np.uint8) for size in ((31, 17, 3), (12, 40), (8, 8, 3))]
    sink = Record(tmp_path, Rules())
    sink.open(STREAM)
    for k, pixels in enumerate([*pictures, None]):
        frame = Frame(pixels, source="top", pts=k / 10, error=None if pixels is not None else "cannot read it")
        sink.write(frame)
    sink.close()
    assert cv2.imread(str(next(tmp_path.rglob("0000001.png"))), cv2.IMREAD_UNCHANGED).shape == (12, 40)
    source = Replay(tmp_path)
    info = source.open()
    assert (info.frames, info.live, info.fps) == (4, False, pytest.approx(10))
    again = list(source.frames())
    for frame, pixels in zip(again, pictures, strict=False):
        np.testing.assert_array_equal(frame.pixels, pixels)
    assert again[3].pixels is None and again[3].error == "cannot read it"


DATABASE = """
import os, sys
from pathlib import Path
from helpers.disk_calls import traced
from helpers.inspected import inspected
from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.sqlite import Sqlite

root = Path(sys.argv[1])
marks = os.open(root / "marks", os.O_WRONLY | os.O_CREAT)
sink = Sqlite(root / "r.sqlite", Rules())
sink.open(StreamInfo("top", "camera"))
for number in range(int(sys.argv[2])):
    sink.write(inspected(number, size=(8, 8)))
    os.write(marks, b"written %d" % number)
    if number % 7 == 6:
        sink.sync()
        os.write(marks, b"synced %d" % number)
sink.close()
os.write(marks, b"synced %d" % number)
"""


@pytest.mark.slow
def test_after_a_loss_of_power_the_database_is_whole_and_has_all_that_was_synced(tmp_path: Path) -> None:
    """SQLite writes by itself, so what it does is taken from its calls to the system."""
    root, rng, frames = tmp_path / "station", random.Random(2), 330
    root.mkdir()
    trace = traced(DATABASE, root, str(frames), work=tmp_path)
    first = next(k for k, op in enumerate(trace) if op.kind == "written")
    # Where the log is moved into the database, much is under way at once.
    moves = [k for k, op in enumerate(trace) if op.kind == "sync" and k > first][-40:]
    lost = 0
    for number, moment in enumerate(sorted({*moments(trace, rng, 40), *rng.sample(moves, 20)})):
        done = trace[:moment]
        safe = max((op.what for op in done if op.kind == "synced"), default=-1)
        begun = max((op.what for op in done if op.kind == "written"), default=-1) + 1
        place, told = tmp_path / f"wreck{number}", list[str]()
        place.mkdir()
        # What processes share with each other (-shm) is made anew by whoever comes first.
        Wreck(done).build(rng, "ordered", root, place, but="-shm")
        sink = Sqlite(
            place / "r.sqlite", Rules(), world=World(tell=lambda level, kind, text, told=told: told.append(kind))
        )
        sink.open(STREAM)
        sink.write(inspected(NEW))
        sink.close()
        assert safe < 0 or not told, f"{told} after {safe}"
        with sqlite3.connect(place / "r.sqlite") as base:
            assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            query = "SELECT sequence, (SELECT count(*) FROM detections WHERE frame = id) FROM frames ORDER BY id"
            found = base.execute(query).fetchall()
        base.close()
        assert found.pop() == (NEW, 2)
        assert found == [(k, 2) for k in range(len(found))] and safe < len(found) <= begun + 1
        lost += len(found) < begun
    assert lost > 5, "the wrecks are no wrecks"


WORKBOOKS = """
import os, sys
from pathlib import Path
from helpers.inspected import inspected
from lineside.pipelines.catalog import Place
from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.sinks import journal

root = Path(sys.argv[1])
marks = os.open(root / "marks", os.O_WRONLY | os.O_CREAT)
lasting = {"floor": "0B", "rotate": "", "rotate_size": sys.argv[3], "sync": "each"}
sinks = [
    journal.xlsx(journal.Workbooks(path="r.xlsx", **lasting), Place(root)),
    journal.coco(journal.CocoFiles(path="r.json", **lasting), Place(root)),
]
for sink in sinks:
    sink.open(StreamInfo("top", "camera"))
for number in range(int(sys.argv[2])):
    for sink in sinks:
        sink.write(inspected(number, size=(8, 8)))
    os.write(marks, b"synced %d" % number)
for sink in sinks:
    sink.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("names", ["ordered", "any"])
@pytest.mark.parametrize("size", ["", "900B"])
def test_after_a_loss_of_power_every_record_gets_into_one_workbook(tmp_path: Path, size: str, names: Names) -> None:
    root, rng, frames = tmp_path / "station", random.Random(4), 8
    root.mkdir()
    trace = traced(WORKBOOKS, root, str(frames), size, work=tmp_path)
    began = next(k for k, op in enumerate(trace) if op.kind == "synced")
    for number, moment in enumerate([*rng.sample(range(began, len(trace)), 14), len(trace)]):
        done = trace[:moment]
        safe = max(op.what for op in done if op.kind == "synced")
        place = tmp_path / f"wreck{number}"
        place.mkdir()
        Wreck(done).build(rng, names, root, place)
        lasting: dict[str, Any] = {"floor": "0B", "rotate": "", "rotate_size": size}
        for sink in (
            journal.xlsx(journal.Workbooks(path="r.xlsx", **lasting), Place(place)),
            journal.coco(journal.CocoFiles(path="r.json", **lasting), Place(place)),
        ):
            sink.open(STREAM)
            sink.write(inspected(NEW))
            sink.close()
        assert not [it for it in place.iterdir() if it.suffix in (PART, ".journal") and it.is_file()]
        books = [openpyxl.load_workbook(it)["Detections"] for it in place.glob("*.xlsx")]
        rows_of = [row[0] for book in books for row in book.iter_rows(min_row=2, values_only=True)]
        pictures = [it["file_name"] for path in place.glob("*.json") for it in json.loads(path.read_text())["images"]]
        for found, each in ((rows_of, 2), ([int(it[3:-4]) for it in pictures], 1)):
            assert sorted(found) in (
                [*expected_once(safe, each), *each * [NEW]],
                [*expected_once(safe + 1, each), *each * [NEW]],
            )


def expected_once(last: int, each: int) -> list[int]:
    return [k for k in range(last + 1) for _ in range(each)]
