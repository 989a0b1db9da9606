"""Elements of a station that never return: it ends all the same, within a bound, and says which they were."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from helpers.station_process import KEEPING, SINKS, Running, healthy, lines_in, rows_in, runs
from helpers.world import World

pytestmark = pytest.mark.slow
BOUND, SLACK = 23.0, 60.0
"""Seconds in which a station ends after a signal where no sink puts a file together (docs/station.md), and what a machine
with much else to do may add."""

OWN = '''
import threading

import numpy as np


def stuck(frames: int = 3):
    """A source that never gives its fourth frame, and never ends."""
    for number in range(frames):
        yield np.full((48, 64, 3), 10 * number, np.uint8)
    threading.Event().wait()


class Frozen:
    """A live one of the same kind: it is watched over."""

    live = True

    def frames(self):
        yield from stuck()


class Deaf:
    """A sink that never returns from its third frame."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, frame) -> None:
        self.count += 1
        if self.count == 3:
            threading.Event().wait()
'''


def test_what_hangs_is_named_and_left_behind(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    disk = tmp_path / "disk"
    disk.mkdir()
    world = World(tmp_path, disk)
    sources = {"stuck": {"own.py:stuck": {}}, "frozen": {"own.py:Frozen": {}}, "side": healthy(tmp_path)}
    sinks = {
        **SINKS,
        "deaf": {"own.py:Deaf": {}},
        "still": {"jsonl": {"path": str(disk / "still.jsonl"), **KEEPING}},
    }
    with Running(tmp_path, bundle, sources, sinks=sinks, lossless=("side", "stuck"), env=world.environment) as station:
        station.more_from("side", 20)
        world.slow_down(3600)  # The disk of one sink stands still, and will to the end.
        mark = station.hear("frozen", "source stalled", "no frame for 5 s").number
        station.hear("frozen", "hung", "it is left behind", after=mark)
        mark = station.hear("frozen", "source connecting", "in a process of its own", after=mark).number
        station.hear("frozen", "source running", after=mark)
        station.more_from("side", 20)
        begin = time.monotonic()
        ended = station.end()  # Waits no longer for a process than the helper's patience.
        assert time.monotonic() - begin <= BOUND + SLACK
    assert ended.code == 1 and not ended.report["complete"]
    assert ended.report["hanging"] == ["sink deaf", "sink still", "source stuck"]
    assert "did not end in time: " in ended.errors
    assert all(name in ended.errors.split("did not end in time: ")[1] for name in ended.report["hanging"])
    assert ended.moves("frozen")[:4] == ["CONNECTING", "RUNNING", "STALLED", "BACKOFF"]

    counts = ended.counts("side")
    assert counts["inspected"] == counts["entered"] >= 40 and counts["in_flight"] == 0
    assert counts["sinks"]["deaf"]["written"] + ended.counts("stuck")["sinks"]["deaf"]["written"] <= 2
    for name in ("base", "lines", "table", "shots"):
        sink = counts["sinks"][name]
        assert sink["written"] == sink["given"] == counts["inspected"] and not sink["waiting"], name
    triggers = [line["trigger"] for line in lines_in(tmp_path) if line["source"] == "side"]
    assert runs(triggers) == [counts["inspected"]]
    assert {int(row["frame"]) for row in rows_in(tmp_path)} >= set(triggers), "a table is whole, finished or not"
