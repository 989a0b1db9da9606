"""Files that grow for months: names, rotation, retention, floor, syncs, and what an earlier process left."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from helpers.inspected import BEGAN, inspected
from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.sinks import csv as csv_sink
from lineside.pipelines.sinks import jsonl
from lineside.pipelines.sinks.disk import SystemDisk
from lineside.pipelines.sinks.folders import dated_folders
from lineside.pipelines.sinks.gallery import Choice, Gallery, GalleryFolder
from lineside.pipelines.sinks.gallery import make as make_gallery
from lineside.pipelines.sinks.lasting import Lasting, Rules
from lineside.pipelines.sinks.pictures import PictureFiles
from lineside.pipelines.sinks.record import Record
from lineside.pipelines.sinks.segments import Segments
from lineside.pipelines.sinks.whole import whole_lines, whole_rows
from lineside.pipelines.sinks.world import World
from lineside.pipelines.sources.replay import Replay
from lineside.runtime.errors import SinkError

STREAM = StreamInfo("top", "camera", live=True, fps=25.0)
LONG = 60.0


def line(number: int, size: int = 0) -> bytes:
    return json.dumps({"number": number, "more": "x" * size}).encode() + b"\n"


def numbers(folder: Path, pattern: str = "r*") -> dict[str, list[int]]:
    """The numbers in each file, by its name."""
    return {it.name: [json.loads(row)["number"] for row in it.read_text().splitlines()] for it in folder.glob(pattern)}


class Clock:
    def __init__(self, time: float = BEGAN) -> None:
        self.time = time

    def __call__(self) -> float:
        return self.time


class Told:
    """What a sink tells."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.changed = threading.Condition()

    def __call__(self, level: str, kind: str, message: str) -> None:
        with self.changed:
            self.events.append((kind, message))
            self.changed.notify_all()

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


def segments(folder: Path, rules: Rules, **world: Any) -> Segments:
    return Segments(folder / "r.jsonl", rules, whole=whole_lines, world=World(**world)).open()


def test_segments_end_at_whole_hours_and_are_named_after_their_beginning(tmp_path: Path) -> None:
    clock = Clock(BEGAN - BEGAN % 3600 + 3590)
    files = segments(tmp_path, Rules(rotate_s=3600), now=clock)
    for number in range(4):
        files.write(line(number))
        assert [it.suffix for it in tmp_path.iterdir()].count(".part") == 1
        clock.time += 9
    files.finish()
    assert numbers(tmp_path) == {"r-20270115T085950Z.jsonl": [0, 1], "r-20270115T090008Z.jsonl": [2, 3]}


def test_a_record_makes_no_path_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    with_name = Path.with_name

    def noted(self: Path, name: str) -> Path:
        made.append(name)
        return with_name(self, name)

    monkeypatch.setattr(Path, "with_name", noted)
    files = segments(tmp_path, Rules(rotate_s=3600))
    files.write(line(0))
    once = len(made)
    for number in range(1, 20):
        files.write(line(number))
    assert 0 < once == len(made), "strings of paths, record by record, made Python's table of strings wander in memory"
    files.finish()


def test_segments_end_at_a_size_and_a_record_is_never_split(tmp_path: Path) -> None:
    clock = Clock()
    files = segments(tmp_path, Rules(rotate_bytes=400), now=clock)
    for number, size in enumerate((100, 100, 100, 1000, 10)):
        files.write(line(number, size))
    files.finish()
    assert sorted(numbers(tmp_path).values()) == [[0, 1, 2], [3], [4]]
    assert len({it.name for it in tmp_path.iterdir()}) == len(numbers(tmp_path)), "each has a name of its own"


@pytest.mark.parametrize("step", [-86_400.0, 7200.0])
def test_a_clock_that_is_set_ends_a_segment_and_loses_nothing(tmp_path: Path, step: float) -> None:
    clock = Clock()
    files = segments(tmp_path, Rules(rotate_s=3600), now=clock)
    files.write(line(0))
    clock.time += step
    files.write(line(1))
    clock.time -= step
    files.write(line(2))
    files.finish()
    assert sorted(numbers(tmp_path).values()) == [[0], [1], [2]]


def test_without_rotation_there_is_one_file_and_an_earlier_one_is_put_aside(tmp_path: Path) -> None:
    told = Told()
    for number in range(2):
        files = segments(tmp_path, Rules(), tell=told)
        files.write(line(number))
        assert (tmp_path / "r.jsonl.part").exists() and not (tmp_path / "r.jsonl").exists()
        files.finish()
    found = numbers(tmp_path)
    assert found.pop("r.jsonl") == [1] and list(found.values()) == [[0]]
    assert told.kinds() == ["put aside"]


def test_a_single_file_with_records_missing_stays_unfinished(tmp_path: Path) -> None:
    files = segments(tmp_path, Rules())
    files.write(line(0))
    files.finish(missing=3)
    assert [it.name for it in tmp_path.iterdir()] == ["r.jsonl.part"]


def test_what_a_cut_off_process_left_is_cut_to_whole_records_and_named(tmp_path: Path) -> None:
    told = Told()
    torn = [line(0) + line(1)[:-1], line(2) + bytes(600) + line(3), b"", line(4)[:9]]
    for number, data in enumerate(torn):
        (tmp_path / f"r-20270101T00000{number}Z.jsonl.part").write_bytes(data)
    files = segments(tmp_path, Rules(rotate_s=3600), tell=told)
    files.write(line(9))
    files.finish()
    assert sorted(numbers(tmp_path).values()) == [[0], [2], [9]] and told.kinds() == ["mended", "mended"]


def test_a_file_that_another_process_is_writing_is_not_touched(tmp_path: Path) -> None:
    files = segments(tmp_path, Rules(rotate_s=3600))
    files.write(line(0))
    with pytest.raises(SinkError, match="another process is writing"):
        segments(tmp_path, Rules(rotate_s=3600))
    files.write(line(1))
    files.finish()
    assert list(numbers(tmp_path).values()) == [[0, 1]]


def test_the_oldest_segments_go_by_age(tmp_path: Path) -> None:
    clock, told = Clock(), Told()
    files = segments(tmp_path, Rules(rotate_s=100, keep_s=250), now=clock, steady=clock, tell=told)
    (tmp_path / "r-notes.jsonl").write_bytes(line(99))
    os.utime(tmp_path / "r-notes.jsonl", (0, 0))
    for number in range(6):
        files.write(line(number))
        for it in tmp_path.glob("*.part"):
            os.utime(it, (clock.time, clock.time))
        clock.time += 100
    files.finish()
    assert sorted(map(tuple, numbers(tmp_path).values())) == [(4,), (5,), (99,)], "what is not ours stays"
    assert told.kinds() == ["removed"] * 4


def test_the_oldest_segments_go_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    clock = Clock()
    files = segments(tmp_path, Rules(rotate_bytes=500, keep_bytes=1600), now=clock)
    for number in range(10):
        files.write(line(number, 440))
        clock.time += 61  # A look at what has to go is due after a minute.
    files.finish()
    found = sorted(it for them in numbers(tmp_path).values() for it in them)
    assert found == [7, 8, 9]


class Fickle(SystemDisk):
    """A disk that refuses what the test says."""

    def __init__(self) -> None:
        self.free = 10**12
        self.refuse: dict[str, int] = {}

    def _ask(self, what: str) -> None:
        if what in self.refuse:
            raise OSError(self.refuse[what], os.strerror(self.refuse[what]))

    def create(self, path: Path) -> int:
        self._ask("create")
        return super().create(path)

    def write(self, handle: int, data: bytes) -> None:
        if "write" in self.refuse:
            super().write(handle, data[: len(data) // 2])
            self._ask("write")
        super().write(handle, data)

    def sync(self, handle: int) -> None:
        self._ask("sync")
        super().sync(handle)

    def rename(self, old: Path, new: Path) -> None:
        self._ask("rename")
        super().rename(old, new)

    def room(self, folder: Path) -> int:
        return self.free


def test_below_the_floor_nothing_is_written_and_above_it_writing_goes_on(tmp_path: Path) -> None:
    disk, told = Fickle(), Told()
    files = segments(tmp_path, Rules(floor=10**9), disk=disk, tell=told)
    written = []
    for number, free in enumerate((2e9, 9e8, 1.01e9, 8e8, 1.2e9, 1.01e9, 9e8)):
        disk.free = int(free)
        try:
            files.write(line(number))
            written.append(number)
        except SinkError as error:
            assert "floor" in str(error) and "1000 MB" in str(error)
    files.finish()
    assert numbers(tmp_path) == {"r.jsonl": [0, 4, 5]} and written == [0, 4, 5]
    assert told.kinds() == ["disk floor", "disk room", "disk floor"], "told once each time, and no flutter at the edge"


def test_half_a_record_is_taken_back_on_a_full_disk(tmp_path: Path) -> None:
    disk = Fickle()
    files = segments(tmp_path, Rules(), disk=disk)
    for number in range(4):
        disk.refuse = {"write": errno.ENOSPC} if number in (1, 2) else {}
        try:
            files.write(line(number))
        except SinkError as error:
            assert "No space left" in str(error)
    files.finish()
    assert numbers(tmp_path) == {"r.jsonl": [0, 3]}


def test_a_disk_that_is_full_at_the_start_costs_records_and_not_the_station(tmp_path: Path) -> None:
    disk, told = Fickle(), Told()
    disk.refuse = {"create": errno.ENOSPC}
    files = segments(tmp_path, Rules(rotate_s=3600), disk=disk, tell=told)
    assert told.kinds() == ["disk full"]
    with pytest.raises(SinkError, match="No space left"):
        files.write(line(0))
    disk.refuse = {}
    files.write(line(1))
    files.finish()
    assert list(numbers(tmp_path).values()) == [[1]]


def test_after_a_sync_that_failed_a_new_file_is_begun(tmp_path: Path) -> None:
    """A kernel says that all is well when it is asked a second time: the file is not trusted any more."""
    disk, told = Fickle(), Told()
    files = segments(tmp_path, Rules(rotate_s=3600), disk=disk, tell=told)
    files.write(line(0))
    disk.refuse = {"sync": errno.EIO}
    files.sync()
    disk.refuse = {}
    files.write(line(1))
    files.finish()
    assert told.kinds() == ["sync failed"]
    assert sorted(numbers(tmp_path, "*.part").values()) == [[0]] and sorted(numbers(tmp_path, "*.jsonl").values()) == [
        [1]
    ]


def test_each_record_is_synced_where_that_is_asked_for(tmp_path: Path) -> None:
    disk, synced = Fickle(), []
    disk.sync = lambda handle: synced.append(os.fstat(handle).st_size)  # type: ignore[method-assign]
    files = segments(tmp_path, Rules(sync_s=0.0), disk=disk)
    for number in range(3):
        files.write(line(number))
    size = len(line(0))
    assert synced == [size, 2 * size, 3 * size]
    disk.refuse = {}
    disk.sync = lambda handle: (_ for _ in ()).throw(OSError(errno.EIO, "broken"))  # type: ignore[method-assign]
    with pytest.raises(SinkError, match="did not take"):
        files.write(line(3))


def test_what_was_written_last_is_synced_although_nothing_comes_after_it(tmp_path: Path) -> None:
    disk, synced = Fickle(), threading.Event()
    size = len(line(0))
    disk.sync = lambda handle: synced.set() if os.fstat(handle).st_size == 2 * size else None  # type: ignore
    files = segments(tmp_path, Rules(sync_s=0.05), disk=disk)
    files.write(line(0))
    files.write(line(1))
    assert synced.wait(LONG)
    files.finish()


def test_a_slow_sync_does_not_hold_up_the_next_record(tmp_path: Path) -> None:
    disk, began, go_on = Fickle(), threading.Event(), threading.Event()

    def slow(handle: int) -> None:
        began.set()
        assert go_on.wait(LONG)

    disk.sync = slow  # type: ignore[method-assign]
    files = segments(tmp_path, Rules(sync_s=0.01), disk=disk)
    files.write(line(0))
    assert began.wait(LONG)
    for number in range(1, 50):
        files.write(line(number))  # Would wait for ever if it waited for the sync.
    go_on.set()
    files.finish()
    assert numbers(tmp_path) == {"r.jsonl": list(range(50))}


def test_a_name_that_cannot_be_given_leaves_a_segment_for_the_next_start(tmp_path: Path) -> None:
    disk, told = Fickle(), Told()
    files = segments(tmp_path, Rules(rotate_bytes=30), disk=disk, tell=told)
    files.write(line(0))
    disk.refuse = {"rename": errno.EIO}
    files.write(line(1))
    disk.refuse = {}
    files.finish()
    assert told.kinds() == ["segment left"]
    segments(tmp_path, Rules(rotate_bytes=30)).finish()
    assert sorted(numbers(tmp_path).values()) == [[0], [1]] and not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rotate": "1 fortnight"}, "is not a time"),
        ({"rotate_size": "0B"}, "makes no segment"),
        ({"keep": "30d"}, "add rotate"),
        ({"sync": "often"}, "sync=often is not known"),
        ({"floor": "much"}, "not an amount of data"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(more: dict[str, str], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(more, Lasting)


def test_options_in_numbers() -> None:
    options = Lasting(rotate="1h", rotate_size="100MB", keep="30d", keep_size="5GB", sync="each", floor="0B")
    assert options.rules() == Rules(3600.0, 10**8, 30 * 86400.0, 5 * 10**9, 0.0, 0)
    assert Lasting(sync="system").rules().sync_s is None and Lasting().rules().sync_s == 1.0


def test_a_station_writes_lines_and_tables_into_segments(tmp_path: Path) -> None:
    bus = Bus()
    events: list[Event] = []
    bus.listen(events.append)
    place = Place(tmp_path, "results", bus)
    sinks = [
        jsonl.make(jsonl.JsonLinesFile(path="out/r.jsonl", rotate_size="1kB", floor="0B"), place),
        csv_sink.make(csv_sink.CsvFile(path="out/r.csv", rotate_size="1kB", floor="0B"), place),
    ]
    assert [sink.name for sink in sinks] == ["results", "results"]
    for sink in sinks:
        sink.open(STREAM)
        for number in range(8):
            sink.write(inspected(number, found=3))
        sink.close()
    lines = [json.loads(row) for it in sorted((tmp_path / "out").glob("r-*.jsonl")) for row in it.open()]
    assert sorted(it["frame"] for it in lines) == list(range(8))
    one = next(it for it in lines if it["frame"] == 5)
    assert (one["trigger"], one["part"], one["encoder"], one["wall"]) == (5, "part 5", 500, BEGAN + 5)
    tables = list((tmp_path / "out").glob("r-*.csv"))
    assert len(tables) > 1 and sum(it.read_text().count("\n") - 1 for it in tables) == 8 * 3
    assert {it.read_text().splitlines()[0][:12] for it in tables} == {"frame,file,t"}


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (b'a,b\r\n1,2\r\n3,"x\r\ny"\r\n', 3),
        (b'a,b\r\n1,2\r\n3,"x\r\n', 2),
        (b"a,b\r\n1,2\r\n3\r\n4,5\r\n", 2),
        (b"a,b\r\n1,2\r\n3,4", 2),
        (b'a,b\r\n1,2\r\n3,"4" 5\r\n', 2),
        (b"a,b\r\n1,2\r\n\0\0\0,4\r\n", 2),
        (b"a,b\r\n1,2\r\n3,\xff\r\n", 2),
    ],
)
def test_whole_rows_of_a_table(tmp_path: Path, table: bytes, rows: int) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(table)
    whole = (b"a,b\r\n", b"a,b\r\n1,2\r\n", b'a,b\r\n1,2\r\n3,"x\r\ny"\r\n')
    assert whole_rows(path) == len(whole[rows - 1])


def test_a_sample_of_pictures(tmp_path: Path) -> None:
    def written(**more: Any) -> list[int]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        sink = make_gallery(GalleryFolder(path=str(folder), floor="0B", **more), Place(tmp_path, "pictures", Bus()))
        sink.open(STREAM)
        for number in range(90):
            frame = inspected(number * 2, found=int(number % 3 == 0), size=(16, 16))
            frame.sequence = number
            sink.write(frame)
        sink.close()
        assert not list(folder.rglob("*.part"))
        return sorted(int(it.stem[-6:]) for it in folder.rglob("*.jpg"))

    assert written() == list(range(90))
    assert written(only="found") == list(range(0, 90, 3))
    assert written(only="found", nth=10) == [0, 30, 60]
    assert written(per_minute=2) == [0, 1, 30, 31, 60, 61]


def test_folders_of_pictures_go_by_age(tmp_path: Path) -> None:
    old = tmp_path / "p" / "20200101T000000Z"
    for folder in (old, tmp_path / "p" / "mine"):
        folder.mkdir(parents=True)
        (folder / "1.jpg").write_bytes(b"x")
        os.utime(folder / "1.jpg", (0, 0))
    sink = make_gallery(GalleryFolder(path="p", keep="1d", floor="0B"), Place(tmp_path, "", Bus()))
    sink.open(STREAM)
    sink.write(inspected(0))
    sink.close()
    assert not old.exists() and (tmp_path / "p" / "mine" / "1.jpg").exists() and len(list(tmp_path.rglob("*.jpg"))) == 2


def test_the_oldest_folders_of_a_session_go_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    clock, told = Clock(), Told()
    sink = Record(tmp_path, Rules(rotate_s=10.0, keep_bytes=12_000), world=World(now=clock, tell=told))
    sink.open(STREAM)
    for number in range(60):
        sink.write(inspected(number))
        clock.time += 1
    sink.close()
    folders = dated_folders(tmp_path)
    sizes = [sum(it.stat().st_size for it in folder.iterdir()) for folder in folders]
    assert 1 < len(folders) < 6 and told.kinds() == ["removed"] * (6 - len(folders))
    assert sum(sizes[:-1]) <= 12_000 < sum(sizes) + sizes[0], "as many as there is room for, and the one that grows"
    source = Replay(tmp_path)
    source.open()
    assert [it.trigger for it in source.frames()] == list(range(60 - 10 * len(folders), 60))


def test_pictures_that_wait_for_a_sync_are_not_more_than_a_few(tmp_path: Path) -> None:
    disk, told = Fickle(), Told()
    files = PictureFiles(disk, told)
    waiting = []
    for number in range(200):
        files.write(tmp_path / f"{number}.jpg", b"x")
        waiting.append(len(list(tmp_path.glob("*.part"))))
    assert max(waiting) < 70 and len(list(tmp_path.glob("*.jpg"))) > 120
    disk.refuse = {"sync": errno.EIO}
    files.sync()
    assert set(told.kinds()) == {"sync failed"}
    assert all(it.with_suffix("").suffix == ".jpg" for it in tmp_path.glob("*.part")), (
        "without a name, for the next start"
    )


def test_a_folder_of_pictures_that_ends_is_finished(tmp_path: Path) -> None:
    """So that nobody gives names in it while it is measured, or removed."""
    clock = Clock()
    sink = Gallery(tmp_path / "shots", Rules(rotate_s=60.0, sync_s=3600.0), Choice(), world=World(now=clock))
    sink.open(STREAM)
    sink.write(inspected(0))
    (first,) = dated_folders(tmp_path / "shots")
    assert [it.suffix for it in first.iterdir()] == [".part"]
    clock.time += 60
    sink.write(inspected(1))
    assert [it.suffix for it in first.iterdir()] == [".jpg"] and len(dated_folders(tmp_path / "shots")) == 2
    sink.close()
