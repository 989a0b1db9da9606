"""Clocks that are set while a station writes: what goes is what is old and what was written first, whatever they say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.gst import until
from helpers.inspected import BEGAN, inspected
from helpers.station_process import asked
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Event
from lineside.pipelines.sinks.ages import Ages
from lineside.pipelines.sinks.folders import DatedFolders
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.naming import Naming
from lineside.pipelines.sinks.segments import Segments
from lineside.pipelines.sinks.sqlite import Sqlite
from lineside.pipelines.sinks.whole import whole_lines
from lineside.pipelines.sinks.world import World

HOUR, DAY = 3600.0, 86400.0


class Clocks:
    """A wall clock that can be set, and the monotonic clock beside it."""

    def __init__(self) -> None:
        self.wall, self.steady = BEGAN, 1000.0

    def go(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def ages(self) -> Ages:
        return Ages(lambda: self.wall, lambda: self.steady)


def test_a_clock_that_goes_on_is_believed_and_so_is_one_that_is_corrected_a_little() -> None:
    clocks = Clocks()
    ages = clocks.ages()
    for _ in range(100):
        clocks.go(600)
        clocks.wall += 30  # A drift of a second in twenty, and it is only the present that counts.
        assert ages() == pytest.approx(clocks.wall)


def test_a_clock_that_is_set_ahead_is_believed_after_an_hour() -> None:
    clocks = Clocks()
    ages, begin = clocks.ages(), BEGAN
    clocks.wall += 30 * DAY
    for minute in range(60):
        assert ages() == pytest.approx(begin + minute * 60)
        clocks.go(60)
    assert ages() == pytest.approx(clocks.wall) == pytest.approx(begin + 30 * DAY + HOUR)


def test_a_clock_that_is_set_ahead_for_a_while_makes_nothing_older() -> None:
    clocks = Clocks()
    ages = clocks.ages()
    for _ in range(20):
        clocks.wall += 400 * DAY
        assert ages() == pytest.approx(clocks.wall - 400 * DAY)
        clocks.go(HOUR / 2)
        assert ages() == pytest.approx(clocks.wall - 400 * DAY)
        clocks.wall -= 400 * DAY
        assert ages() == pytest.approx(clocks.wall)


@given(st.lists(st.tuples(st.floats(0, 1800), st.floats(-1e8, 1e8)), max_size=30))
def test_it_is_never_ahead_of_the_wall_clock_nor_leaps(steps: list[tuple[float, float]]) -> None:
    clocks = Clocks()
    ages = clocks.ages()
    stood, before, since = 0.0, ages(), clocks.steady
    for pause, step in steps:
        clocks.go(pause)
        stood += pause
        clocks.wall += step
        if abs(step) > 60:
            stood = 0.0
        now = ages()
        assert now <= clocks.wall + 1e-3
        if stood < HOUR:
            assert now - before <= clocks.steady - since + 60 + 1e-3
        before, since = now, clocks.steady


def names(folder: Path) -> list[int]:
    return sorted(json.loads(row)["number"] for it in folder.glob("r-*.jsonl") for row in it.read_text().splitlines())


def fill(folder: Path, clocks: Clocks, rules: Rules, steps: dict[int, float], count: int = 10) -> None:
    """A segment for each number; before some the clock is set by so many seconds."""
    files = Segments(
        folder / "r.jsonl", rules, whole=whole_lines, world=World(now=lambda: clocks.wall, steady=lambda: clocks.steady)
    )
    files.open()
    for number in range(count):
        clocks.wall += steps.get(number, 0.0)
        files.write(json.dumps({"number": number, "more": "x" * 400}).encode() + b"\n")
        for it in folder.glob("*.part"):
            os.utime(it, (clocks.wall, clocks.wall))
        clocks.go(61)
    files.finish()


@pytest.mark.parametrize(
    "steps", [{5: 40 * DAY}, {5: 40 * DAY, 7: -40 * DAY}, {3: -5 * HOUR}, {3: -5 * HOUR, 6: 9 * DAY}]
)
def test_segments_outlive_a_clock_that_is_set(tmp_path: Path, steps: dict[int, float]) -> None:
    fill(tmp_path, Clocks(), Rules(rotate_bytes=500, keep_s=DAY), steps)
    assert names(tmp_path) == list(range(10))


def test_when_the_clock_stays_what_is_old_by_it_goes(tmp_path: Path) -> None:
    clocks = Clocks()
    fill(tmp_path, clocks, Rules(rotate_bytes=500, keep_s=DAY), {5: 40 * DAY}, count=70)
    assert names(tmp_path) == list(range(5, 70))


@pytest.mark.parametrize("step", [-5 * HOUR, 5 * HOUR])
def test_of_too_many_bytes_those_written_first_go(tmp_path: Path, step: float) -> None:
    """Set back, the newest segments have the oldest names."""
    fill(tmp_path, Clocks(), Rules(rotate_bytes=500, keep_bytes=1700), {5: step})
    assert names(tmp_path) == [7, 8, 9]


def test_of_too_many_folders_those_filled_first_go(tmp_path: Path) -> None:
    clocks = Clocks()
    rules = Rules(rotate_s=60.0, keep_bytes=250)
    folders = DatedFolders(tmp_path, rules, World(now=lambda: clocks.wall, steady=lambda: clocks.steady))
    assert not list(folders.open())
    for number in range(8):
        clocks.wall -= 5 * HOUR if number == 4 else 0
        (folders.current() / f"{number}").write_bytes(bytes(100))
        clocks.go(61)
    # The last look is before the last folder is made.
    assert sorted(it.name for it in tmp_path.rglob("?")) == ["5", "6", "7"]


def test_names_of_one_second_come_in_their_order(tmp_path: Path) -> None:
    first, second = Naming(tmp_path / "r.jsonl"), Naming(tmp_path / "r.jsonl")
    made = []
    for _ in range(12):
        made.append(first.fresh(BEGAN))
        made[-1].touch()
    assert first.segments() == second.segments() == made
    earlier = first.fresh(BEGAN - HOUR)
    earlier.touch()
    assert first.segments() == [*made, earlier], "it was made last"
    assert second.segments() == [earlier, *made], "another process has the names alone"


def test_a_database_is_thinned_out_after_its_clock_was_set_back(tmp_path: Path) -> None:
    clocks, path = Clocks(), tmp_path / "r.sqlite"
    sink = Sqlite(
        path, Rules(keep_s=DAY, sync_s=0.01), world=World(now=lambda: clocks.wall, steady=lambda: clocks.steady)
    )
    sink.open(StreamInfo("top", "camera", live=True))

    def said(kind: str) -> None:
        """Waits until the thread that also removes what is old has written an event."""
        sink.hear(Event("info", "top", kind, "", clocks.wall))
        until(lambda: asked(path, "SELECT count(*) FROM events WHERE kind = ?", kind) == [(1,)], kind)

    said("first")
    said("second")  # What came with the first one is over: it has looked.
    clocks.wall -= 5 * HOUR
    clocks.go(61)
    old = inspected(0, size=(8, 8))
    old.wall = BEGAN - 2 * DAY
    sink.write(old)
    for minute in range(3):  # It may have looked while the clock was set; then it is the next minute's turn.
        clocks.go(61)
        said(f"minute {minute}")
    until(lambda: asked(path, "SELECT count(*) FROM frames") == [(0,)], "the old frame goes")
    sink.close()
