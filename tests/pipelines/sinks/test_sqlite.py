"""The SQLite sink, read with Python's own module."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pycocotools import mask as coco_mask

from helpers.inspected import BEGAN, inspected
from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.sinks.disk import SystemDisk
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.sqlite import Database, Sqlite, make
from lineside.pipelines.sinks.world import World
from lineside.runtime.errors import SinkError

STREAM = StreamInfo("top", "camera", live=True, fps=25.0)
LONG = 60.0


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    base = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return base.execute(query).fetchall()
    finally:
        base.close()


def station(path: Path, **more: Any) -> Sqlite:
    return make(Database(path=str(path), floor="0B", **more), Place(path.parent, "results", Bus()))


def until(condition: Any) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_frames_detections_and_events_are_there_while_the_station_runs(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.sqlite"
    sink = station(path)
    sink.open(STREAM)
    frames = [inspected(number, found=number % 3) for number in range(6)]
    for frame in frames:
        sink.write(frame)
    bad = Frame(None, source="top", error="cannot read it")
    bad.sequence, bad.outcome = 6, "failed"
    sink.write(bad)
    found = rows(path, "SELECT sequence, source, wall, pts, trigger_number, part, encoder, outcome, file FROM frames")
    assert found[5] == (5, "top", BEGAN + 5, 5.0, 5, "part 5", 500, "inspected", "a,b5.png")
    assert rows(path, "SELECT outcome, error FROM frames WHERE sequence = 6") == [("failed", "cannot read it")]
    boxes = rows(
        path,
        "SELECT sequence, name, score, x0, y0, x1, y1 FROM detections JOIN frames ON frame = id ORDER BY id, score DESC",
    )
    expected = [
        (frame.sequence, it.names[it.classes[i]], round(float(it.scores[i]), 4), *(round(float(x), 2) for x in box))
        for frame in frames
        if (it := frame.detections) is not None
        for i, box in enumerate(it.boxes)
    ]
    assert boxes == expected and len(boxes) == 6
    sink.close()
    assert [it.name for it in path.parent.iterdir()] == ["r.sqlite"], "closed, it is one file"


def test_masks_are_written_where_they_are_asked_for(tmp_path: Path, looked) -> None:
    for masks in (False, True):
        sink = station(tmp_path / f"{masks}.sqlite", masks=masks)
        sink.open(STREAM)
        frame = looked(0)
        sink.write(frame)
        sink.close()
        found = rows(tmp_path / f"{masks}.sqlite", "SELECT mask_area, mask FROM detections")
        assert [area for area, _ in found] == [it.area for it in frame.detections.masks]
        if masks:
            decoded = coco_mask.decode(json.loads(found[0][1]))
            assert (decoded.astype(bool) == frame.detections.masks[0].to_array()).all()
        else:
            assert all(mask is None for _, mask in found)


def test_events_are_written_although_no_frame_comes(tmp_path: Path) -> None:
    bus, path = Bus(), tmp_path / "r.sqlite"
    sink = station(path, sync="50ms")
    sink.open(STREAM)
    bus.listen(sink.hear)
    bus.emit("error", "top", "camera lost", "top: no frame for 5 s")
    until(lambda: rows(path, "SELECT count(*) FROM events") == [(1,)])
    bus.emit("info", "top", "running", "top: running again")
    sink.close()
    found = rows(path, "SELECT level, element, kind, message FROM events ORDER BY id")
    assert found == [
        ("error", "top", "camera lost", "top: no frame for 5 s"),
        ("info", "top", "running", "top: running again"),
    ]
    bus.emit("info", "top", "ended", "too late")
    assert rows(path, "SELECT count(*) FROM events") == [(2,)]


def test_hearing_never_waits_for_the_disk_and_lost_events_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    sink = Sqlite(path, Rules(sync_s=0.05))
    sink.open(STREAM)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # Somebody holds the database.
    for number in range(1500):
        sink.hear(Event("info", "top", "tick", str(number)))
    other.execute("ROLLBACK")
    other.close()
    sink.close()
    ticks = [int(it) for (it,) in rows(path, "SELECT message FROM events WHERE kind = 'tick' ORDER BY id")]
    (lost,) = rows(path, "SELECT message FROM events WHERE kind = 'events lost'")
    assert ticks[-1] == 1499 and len(ticks) < 1500 and ticks == list(range(1500 - len(ticks), 1500))
    assert lost == (f"{1500 - len(ticks)} older events could not be written in time",)


def test_a_second_start_goes_on_in_the_same_database(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    for number in range(3):
        sink = station(path)
        sink.open(STREAM)
        sink.write(inspected(number))
        sink.close()
    assert rows(path, "SELECT sequence FROM frames ORDER BY id") == [(0,), (1,), (2,)]


def test_a_damaged_database_is_put_aside(tmp_path: Path) -> None:
    path, told = tmp_path / "r.sqlite", []
    path.write_bytes(b"no database at all" * 100)
    sink = Sqlite(path, Rules(), world=World(tell=lambda level, kind, message: told.append(kind)))
    sink.open(STREAM)
    sink.write(inspected(0))
    sink.close()
    assert rows(path, "SELECT count(*) FROM frames") == [(1,)] and told == ["damaged"]
    (aside,) = (it for it in tmp_path.iterdir() if "damaged" in it.name)
    assert aside.read_bytes().startswith(b"no database")


@pytest.mark.parametrize(
    "make_it", ["CREATE TABLE mine (x)", "PRAGMA application_id = 1279872581; PRAGMA user_version = 9"]
)
def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path, make_it: str) -> None:
    path = tmp_path / "r.sqlite"
    base = sqlite3.connect(path)
    base.executescript(f"{make_it}; CREATE TABLE more (x);")
    base.close()
    with pytest.raises(SinkError, match="another program|newer Lineside"):
        station(path).open(STREAM)
    assert rows(path, "SELECT name FROM sqlite_master WHERE name = 'frames'") == []


def test_old_frames_go_with_their_detections(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    clock = [BEGAN]
    sink = Sqlite(path, Rules(keep_s=3600.0, sync_s=0.01), world=World(now=lambda: clock[0], steady=lambda: clock[0]))
    sink.open(STREAM)
    for number in range(1200):
        frame = inspected(number, size=(8, 8))
        frame.wall = BEGAN + number * 6
        sink.write(frame)
    clock[0] = BEGAN + 1200 * 6

    def thinned() -> bool:
        sink.hear(Event("info", "top", "tick", ""))
        return rows(path, "SELECT count(*) FROM frames") == [(600,)]

    until(thinned)
    assert rows(path, "SELECT min(sequence) FROM frames") == [(600,)]
    assert rows(path, "SELECT count(*) FROM detections") == [(1200,)]
    sink.close()


def test_a_database_stays_below_its_size(tmp_path: Path) -> None:
    path, most = tmp_path / "r.sqlite", 300_000
    sink = Sqlite(path, Rules(keep_bytes=most, sync_s=0.01), world=World(now=lambda: time.monotonic() * 10_000))
    sink.open(STREAM)
    for number in range(3000):
        frame = inspected(number % 50, size=(8, 8))
        frame.sequence = number
        sink.write(frame)

    def small() -> bool:
        sink.hear(Event("info", "top", "tick", ""))
        return path.stat().st_size < 1.5 * most

    until(small)
    sink.close()
    assert path.stat().st_size < 1.5 * most
    kept = [it for (it,) in rows(path, "SELECT sequence FROM frames ORDER BY id")]
    assert kept[-1] == 2999 and kept == list(range(kept[0], 3000)), "the oldest are gone"


def test_below_the_floor_frames_are_refused_and_events_wait(tmp_path: Path) -> None:
    class Disk(SystemDisk):
        free = 0

        def room(self, folder: Path) -> int:
            return self.free

    path, disk, bus = tmp_path / "r.sqlite", Disk(), Bus()
    sink = Sqlite(
        path,
        Rules(floor=1000, sync_s=0.02),
        world=World(disk=disk, tell=lambda level, kind, text: bus.emit(level, "db", kind, text)),
    )
    bus.listen(sink.hear)
    sink.open(STREAM)
    with pytest.raises(SinkError, match="floor"):
        sink.write(inspected(0))
    disk.free = 10**9
    until(lambda: rows(path, "SELECT kind FROM events ORDER BY id") == [("disk floor",), ("disk room",)])
    sink.write(inspected(1))
    sink.close()
    assert rows(path, "SELECT sequence FROM frames") == [(1,)]


def test_the_log_is_forced_onto_the_disk_in_the_time_that_was_said(tmp_path: Path) -> None:
    synced = threading.Event()

    class Disk(SystemDisk):
        def sync(self, handle: int) -> None:
            super().sync(handle)
            synced.set()

    sink = Sqlite(tmp_path / "r.sqlite", Rules(sync_s=0.02), world=World(disk=Disk()))
    sink.open(STREAM)
    sink.write(inspected(0))
    assert synced.wait(LONG)
    sink.close()
    for text, expected in (("each", True), ("system", False)):
        synced.clear()
        sink = Sqlite(tmp_path / f"{text}.sqlite", Database(sync=text).rules(), world=World(disk=Disk()))
        sink.open(STREAM)
        sink.write(inspected(0))
        assert synced.is_set() == expected
        sink.close()
