"""Events as JSON lines beside the results: all of them, in order, without credentials, whatever the disk does meanwhile."""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.media import pictures
from lineside.pipelines.catalog import options_of
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.operate import operate
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.sinks.disk import SystemDisk
from lineside.pipelines.sinks.events import EventLines
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.segments import Segments
from lineside.pipelines.sinks.whole import read_lines, whole_lines
from lineside.pipelines.sinks.world import World
from lineside.runtime.errors import SinkError, SourceError, StationError

OWN = """
def refuses(frame) -> None:
    raise ValueError("rtsp://kim:hush5@10.0.0.7/line says no")
"""


def until(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def test_a_station_writes_all_its_events_in_order_and_without_credentials(bundle: Path, tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(48, 64)] * 3)
    (tmp_path / "own.py").write_text(OWN)
    text = (
        f"synthetic name=top path=parts fps=50 count=3 ! queue policy=every:9 ! own.py:refuses ! segment bundle={bundle} ! "
        "jsonl name=lines path=out/lines.jsonl events=out/events.jsonl floor=0B"
    )
    told: list[Event] = []
    bus = Bus()
    bus.listen(told.append)
    report = operate(shape_of(parse_launch(text, folder=tmp_path)), tmp_path, lambda sentence: None, bus=bus)
    lines = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert all(list(it) == ["when", "level", "element", "kind", "message"] for it in lines)
    # Threads may tell at the same moment; what one element tells is in its order.
    for element in {it["element"] for it in lines} | {event.element for event in told}:
        mine = [(event.level, event.kind, event.message) for event in told if event.element == element]
        assert [(it["level"], it["kind"], it["message"]) for it in lines if it["element"] == element] == mine, element
    kinds = [it["kind"] for it in lines if it["element"] == "top"]
    assert [it for it in kinds if it.startswith("source")] == ["source connecting", "source running", "source ended"]
    assert kinds.count("frame failed") == 3 == report.to_dict()["branches"][0]["counts"]["failed"]
    assert "10.0.0.7" in json.dumps(lines) and "hush5" not in json.dumps(lines)
    assert {it.name for it in (tmp_path / "out").iterdir()} == {"lines.jsonl", "events.jsonl"}


def test_a_station_that_cannot_begin_has_told_why_and_leaves_no_empty_file(bundle: Path, tmp_path: Path) -> None:
    text = f"pictures path=nowhere ! segment bundle={bundle} ! jsonl path=lines.jsonl events=events.jsonl floor=0B"
    with pytest.raises(SourceError, match="nowhere"):
        operate(shape_of(parse_launch(text)), tmp_path, lambda sentence: None)
    assert not list(tmp_path.iterdir())


def test_two_stations_do_not_write_the_same_events(bundle: Path, tmp_path: Path) -> None:
    first = EventLines(files(tmp_path, SystemDisk()), lambda *words: None, "one")
    first.open()
    first.hear(Event("info", "top", "kind", "begun", 1.0))
    until(lambda: [*tmp_path.glob("*.part")], "it has begun")
    with pytest.raises(SinkError, match="another process is writing"):
        EventLines(files(tmp_path, SystemDisk()), lambda *words: None, "two").open()
    first.close()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("jsonl path=a.jsonl events=./a.jsonl", "is the file of the results, too"),
        ("tee name=t ! jsonl path=a.jsonl events=e.jsonl  t. ! jsonl path=e.jsonl", "writes to 'e.jsonl', and so does"),
        ("tee name=t ! jsonl path=a.jsonl events=e.jsonl  t. ! csv path=e/../e.jsonl", "give it another path="),
        ("tee name=t ! csv path=e.jsonl  t. ! jsonl path=a.jsonl events=e.jsonl", "give it another events="),
    ],
)
def test_events_have_a_file_of_their_own(words: str, says: str) -> None:
    with pytest.raises(StationError, match=says):
        shape_of(parse_launch(f"synthetic ! segment bundle=b ! {words}"))


def test_without_the_option_there_is_no_such_file() -> None:
    assert options_of("jsonl", {}, "test") == options_of("jsonl", {"events": ""}, "test")


class Shut(SystemDisk):
    """A disk that is full until it is told otherwise, and says how often it was asked."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.asked = threading.Semaphore(0)

    def write(self, handle: int, data: bytes) -> None:
        if data:
            self.asked.release()
        if data and not self.open.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(handle, data)


def files(folder: Path, disk: SystemDisk) -> Segments:
    return Segments(folder / "events.jsonl", Rules(), whole=whole_lines, world=World(disk=disk))


def told_of(number: int) -> Event:
    return Event("info", "top", "number", f"{number} \udcff", number / 8)


def test_what_a_full_disk_refuses_is_written_later_and_what_was_too_much_is_counted(tmp_path: Path) -> None:
    disk, said = Shut(), list[tuple[str, str]]()
    lines = EventLines(files(tmp_path, disk), lambda level, kind, text: said.append((kind, text)), "lines")
    lines.open()
    for number in range(3000):
        lines.hear(told_of(number))
    for _ in range(2):
        assert disk.asked.acquire(timeout=120)
    disk.open.set()
    path = tmp_path / "events.jsonl.part"
    until(lambda: path.exists() and any(it["message"].startswith("2999 ") for it in read_lines(path)), "the newest")
    lines.hear(told_of(3000))
    lines.close()
    found = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    lost = [it for it in found if it["kind"] == "events lost"]
    numbers = [int(it["message"].split()[0]) for it in found if it["kind"] == "number"]
    assert sum(int(it["message"].split()[0]) for it in lost) == 3001 - len(numbers) >= 1999
    assert numbers[-1000:] == list(range(2001, 3001)) and numbers == sorted(set(numbers))
    assert found[-1] == {"when": 375.0, "level": "info", "element": "top", "kind": "number", "message": "3000 \\udcff"}
    assert [kind for kind, _ in said] == ["events not written"] and "free some space" in said[0][1]


def test_a_disk_that_never_answers_does_not_keep_a_station_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, said = threading.Event(), list[str]()

    class Held(SystemDisk):
        def write(self, handle: int, data: bytes) -> None:
            held.wait()
            super().write(handle, data)

    monkeypatch.setattr("lineside.pipelines.sinks.events._GRACE", 0.1)
    lines = EventLines(files(tmp_path, Held()), lambda level, kind, text: said.append(kind), "lines")
    lines.open()
    lines.hear(told_of(1))
    lines.close()
    assert said == ["hung"]
    held.set()
    until(lambda: (tmp_path / "events.jsonl").exists(), "left behind, it ends by itself")
