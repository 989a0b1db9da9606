"""The wall clock of a station is set back and forth, by hours and by weeks: nothing is late, stalled, removed or lost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from helpers.station_process import KEEPING, Running, asked, healthy, rows_in, runs
from helpers.world import World

pytestmark = pytest.mark.slow

HOUR, DAY = 3600.0, 86400.0
STEPS = (5 * HOUR, -7 * HOUR, 40 * DAY, -2 * DAY, 0.0)
"""How far the clock is ahead of the true one."""

KEPT = {**KEEPING, "keep": "30d"}
SINKS: dict[str, dict[str, Any]] = {
    "base": {"sqlite": {"path": "base.sqlite", **KEPT}},
    "lines": {"jsonl": {"path": "lines.jsonl", "rotate": "1h", **KEPT}},
    "table": {"csv": {"path": "table.csv", "rotate": "1h", **KEPT}},
    "shots": {"images": {"path": "shots", "rotate": "1h", **KEPT}},
}


def everything(folder: Path) -> Iterator[dict[str, Any]]:
    for path in folder.glob("lines-*.jsonl"):
        yield from map(json.loads, path.read_text().splitlines())


def test_a_clock_that_is_set_confuses_nobody(bundle: Path, tmp_path: Path) -> None:
    world = World(tmp_path)
    takt = {"takt": {"deadline": "30m", "late": "mark"}}
    begin = time.monotonic()
    with Running(
        tmp_path, bundle, {"side": healthy(tmp_path)}, sinks=SINKS, more=takt, env=world.environment
    ) as station:
        station.more_from("side")
        for ahead in STEPS:
            world.set_clock(ahead)
            station.more_from("side", 30)
        ended = station.end()
    took = time.monotonic() - begin

    counts = ended.counts("side")
    assert ended.code == 0 and ended.report["complete"], ended.errors
    assert counts["inspected"] == counts["entered"] and counts["late"] == 0 and counts["in_flight"] == 0
    assert ended.moves("side") == ["CONNECTING", "RUNNING", "ENDED"]
    assert 0 < ended.report["seconds"] <= took
    for stage, times in ended.report["branches"][0]["stages"].items():
        assert 0 <= times["max"] <= took * 1000, stage

    # Nothing was removed: each sink has every frame, in as many files as there were hours.
    assert not [it for it in ended.report["problems"] if "removed" in it]
    base = tmp_path / "base.sqlite"
    assert asked(base, "SELECT count(*) FROM events WHERE kind = 'removed'") == [(0,)]
    triggers = [number for (number,) in asked(base, "SELECT trigger_number FROM frames ORDER BY id")]
    assert runs(triggers) == [counts["inspected"]]
    assert sorted(line["trigger"] for line in everything(tmp_path)) == triggers
    assert {int(row["frame"]) for row in rows_in(tmp_path)} == set(triggers)
    assert len(list((tmp_path / "shots").rglob("*.jpg"))) == counts["inspected"]
    assert len(list((tmp_path / "shots").iterdir())) >= 4

    # The walls are what the clock said, the times of the line are not.
    walls = asked(base, "SELECT wall, pts, age_ms FROM frames ORDER BY id")
    leaps = [later[0] - earlier[0] for earlier, later in pairwise(walls) if abs(later[0] - earlier[0]) > HOUR]
    assert [round(it / HOUR) for it in leaps] == [5, -12, 40 * 24 + 7, -42 * 24, 48]
    assert all(0 < later[1] - earlier[1] < took for earlier, later in pairwise(walls))
    assert all(0 <= age <= took * 1000 for _, _, age in walls)
