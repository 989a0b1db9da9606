"""A disk that is full, and one that stands still: the inspection goes on, what is not written is counted, and it goes on later."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers.running import fill, small_disk
from helpers.station_process import KEEPING, Ended, Running, asked, healthy, lines_in, rows_in, runs, shots_in
from helpers.world import World

pytestmark = pytest.mark.slow

SAFE = {
    "base": {"sqlite": {"path": "base.sqlite", **KEEPING}},
    "lines": {"jsonl": {"path": "lines.jsonl", **KEEPING}},
}
"""Sinks on a disk that nothing happens to."""


def on(disk: Path, floor: str = "0B") -> dict[str, Any]:
    """Sinks on another disk."""
    said = {**KEEPING, "floor": floor}
    return {
        "other-base": {"sqlite": {"path": str(disk / "other.sqlite"), **said}},
        "other-lines": {"jsonl": {"path": str(disk / "other.jsonl"), **said}},
        "other-shots": {"images": {"path": str(disk / "shots"), **said}},
        "session": {"record": {"path": str(disk / "session"), **said}},
    }


def agrees(ended: Ended, disk: Path) -> None:
    """What the files on the other disk hold is what the counters say."""
    sinks = ended.counts("side")["sinks"]
    triggers = asked(disk / "other.sqlite", "SELECT trigger_number FROM frames ORDER BY id")
    assert asked(disk / "other.sqlite", "PRAGMA integrity_check") == [("ok",)]
    found = {
        "other-base": [number for (number,) in triggers],
        "other-lines": [line["trigger"] for line in lines_in(disk, "other")],
        "other-shots": shots_in(disk),
    }
    for name, numbers in found.items():
        assert numbers == sorted(set(numbers)) and len(numbers) == sinks[name]["written"], (name, sinks[name])


@contextmanager
def inspecting(folder: Path, bundle: Path, **told: Any) -> Iterator[Running]:
    """A station with a healthy camera, which has given some results."""
    with Running(folder, bundle, {"side": healthy(folder)}, **told) as station:
        station.more_from("side", 20)
        yield station


def well_again(station: Running, disk: Path) -> Ended:
    """Results come again, and at the end all of them are accounted for."""
    station.more_from("side", 20)
    ended = station.end()
    ended.lawful()
    ended.all_of("side")
    agrees(ended, disk)
    return ended


def test_a_disk_that_is_full_costs_results_and_no_inspection(bundle: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8 << 20, 8 << 20) as disk:
        table = {"csv": {"path": str(disk / "table.csv"), **KEEPING, "floor": "1MB"}}
        sinks = {**SAFE, **on(disk), "table": table}
        with inspecting(tmp_path, bundle, sinks=sinks) as station:
            ballast = fill(disk, "more")
            station.hear("table", "disk floor", "are to stay free")
            for name in ("other-base", "other-lines", "other-shots", "session", "table"):
                station.hear(name, "sink failed", "free some space")
            station.more_from("side", 20)
            os.close(ballast)
            os.unlink(disk / "more")
            station.hear("table", "disk room")
            for name in ("other-base", "other-lines", "other-shots", "session", "table"):
                station.hear(name, "sink works again")
            ended = well_again(station, disk)
        counts = ended.counts("side")["sinks"]
        assert all(counts[name]["failed"] > 0 for name in counts if name not in SAFE), counts
        frames = [int(row["frame"]) for row in rows_in(disk)]
        assert len(set(frames)) == counts["table"]["written"]
        assert ended.code == 1 and ended.moves("side") == ["CONNECTING", "RUNNING", "ENDED"]


def test_a_disk_that_stands_still_costs_results_and_no_inspection(bundle: Path, tmp_path: Path) -> None:
    disk = tmp_path / "slow"
    disk.mkdir()
    world = World(tmp_path, disk)
    few = "queue policy=drop-oldest:4"
    queues = dict.fromkeys(on(disk), few)
    sinks = {**SAFE, **on(disk)}
    with inspecting(tmp_path, bundle, sinks=sinks, queues=queues, env=world.environment) as station:
        world.slow_down(3600)  # It stands still for as long as the test says.
        station.more_from("side", 60)
        world.slow_down(0)
        ended = well_again(station, disk)
    counts = ended.counts("side")["sinks"]
    # Of 60 frames one was in hand and four waited.
    assert all(counts[name]["dropped"] >= 50 for name in on(disk)), counts
    assert all(counts[name]["dropped"] == counts[name]["failed"] == 0 for name in SAFE)
    assert ended.code == 0, "a live source may lose results to a slow disk; they are counted"
    assert runs([line["trigger"] for line in lines_in(tmp_path)]) == [counts["lines"]["written"]]
