"""A station that is killed, or asked to end, at any moment of its writing, again and again in the same folder."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from helpers.station_process import KEEPING, Running, asked, healthy, lines_in, rows_in, runs, shots_in
from lineside.pipelines.sources.replay import Replay

SEGMENTS = {**KEEPING, "rotate_size": "20kB"}
SINKS: dict[str, dict[str, Any]] = {
    "base": {"sqlite": {"path": "base.sqlite", **KEEPING}},
    "lines": {"jsonl": {"path": "lines.jsonl", "events": "events.jsonl", **SEGMENTS}},
    "table": {"csv": {"path": "table.csv", **SEGMENTS}},
    "shots": {"images": {"path": "shots", **KEEPING}},
    "session": {"record": {"path": "session", **KEEPING}},
    "film": {"video": {"path": "film.mp4", "codec": "mjpeg", "fps": 20, **SEGMENTS}},
}
ENDS = ("KILL", "TERM", "KILL", "KILL", "TERM")


def found(folder: Path) -> dict[str, list[int]]:
    """Numbers of the frames that each sink's readers find after some runs, in the order in which they were written."""
    assert asked(folder / "base.sqlite", "PRAGMA integrity_check") == [("ok",)]
    frames = asked(
        folder / "base.sqlite",
        "SELECT trigger_number, (SELECT count(*) FROM detections WHERE frame = frames.id) FROM frames ORDER BY id",
    )
    lines = lines_in(folder)
    assert all(line["detections"] for line in lines) and all(count for _, count in frames), "each frame shows something"
    rows = [int(row["frame"]) for row in rows_in(folder)]
    return {
        "base": [number for number, _ in frames],
        "lines": [line["trigger"] for line in lines],
        "table": [number for place, number in enumerate(rows) if not place or rows[place - 1] != number],
        "shots": shots_in(folder),
        "session": [frame.trigger for frame in Replay(folder / "session").frames() if frame.trigger is not None],
    }


def shown(folder: Path) -> int:
    """Pictures of all films; those that are finished are whole."""
    films = {path: path.read_bytes() for path in folder.glob("film*.mjpeg*")}
    assert all(data.endswith(b"\xff\xd9") for path, data in films.items() if path.suffix != ".part")
    return sum(data.count(b"\xff\xd8\xff") for data in films.values())


@pytest.mark.slow
def test_after_a_kill_everything_is_whole_and_after_a_polite_one_everything_is_there(
    bundle: Path, tmp_path: Path
) -> None:
    dice, films = random.Random(11), 0
    before = {name: [0][:0] for name in ("base", "lines", "table", "shots", "session")}
    for number, end in enumerate(ENDS):
        with Running(tmp_path, bundle, {"side": healthy(tmp_path, fps=10)}, sinks=SINKS) as station:
            known = len(before["base"])
            wanted = known + dice.randint(1, 60)
            station.until(lambda: station.count("side") >= wanted, f"frame {wanted} of run {number}")  # noqa: B023
            if end == "KILL":
                station.kill()
            else:
                ended = station.end()
        now = found(tmp_path)
        for name, numbers in now.items():
            assert numbers[: len(before[name])] == before[name], f"{name} has lost what it had before run {number}"
            assert len(runs(numbers[len(before[name]) :])) <= 1, f"{name} has gaps in run {number}"
        events = [(it["element"], it["kind"]) for it in lines_in(tmp_path, "events")]
        assert events.count(("side", "source running")) == number + 1, "each run is told once"
        assert events.count(("side", "source ended")) == ENDS[: number + 1].count("TERM")
        if end == "TERM":
            counts = ended.counts("side")
            assert ended.report["stopped"] == "SIGTERM" and not ended.report["hanging"]
            assert all("still waited" in problem for problem in ended.report["problems"]), ended.report["problems"]
            assert counts["inspected"] == counts["entered"] and counts["in_flight"] == 0
            for name, numbers in now.items():
                sink = counts["sinks"][name]
                written = len(numbers) - len(before[name])
                assert sink["written"] == written, (name, sink)
                # A sink that is still behind after the time for what is queued gives up the rest, and it is counted and told.
                assert sink["given"] == counts["inspected"] == written + sink["dropped"], (name, sink)
            assert not list(tmp_path.rglob("*.part")), "a polite end leaves nothing unfinished"
            # A film shows a picture again where the next one was late.
            assert shown(tmp_path) - films >= counts["sinks"]["film"]["written"]
        before, films = now, shown(tmp_path)
    told = asked(tmp_path / "base.sqlite", "SELECT element FROM events WHERE kind = 'mended'")
    assert {"lines", "table"} <= {element for (element,) in told}
