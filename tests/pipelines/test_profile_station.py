"""``lineside profile STATION``: the station as it is, its files at a takt, its results kept apart."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from helpers.elements import Counting
from helpers.media import pictures, video
from lineside.pipelines.frame import CAPTURE, TRIGGER
from lineside.pipelines.plan.file import plan_of
from lineside.pipelines.profile.pace import AtTakt, Rounds
from lineside.pipelines.profile.station import profile_station
from lineside.pipelines.sources.memory import Memory
from lineside.pipelines.sources.video import Video
from lineside.pipelines.station import read_station

MS = 1_000_000
STATION = """
station: 1
name: two sides
elements:
  top: {{synthetic: {{size: 160x96, fps: 50, count: 3}}}}
  side: {{pictures: {{path: parts}}}}
  model: {{segment: {{bundle: {bundle}, conf: 0.01}}}}
  lines: {{jsonl: {{path: {lines}}}}}
  table: {{csv: {{path: table.csv}}}}
links:
  - top ! queue policy=every:9 ! model ! lines
  - side ! model ! table
takt: {{deadline: 1h, sources: {{side: 1ns}}}}
"""


@pytest.fixture
def station(tmp_path: Path, bundle: Path) -> Path:
    """A station of a camera with 3 parts and of a folder with 3, whose lines go to a place outside of its folder."""
    place = tmp_path / "line"
    place.mkdir()
    pictures(place / "parts", [(96, 160)] * 3)
    file = place / "station.yaml"
    file.write_text(STATION.format(bundle=bundle, lines=tmp_path / "elsewhere" / "lines.jsonl"))
    return file


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_each_source_has_its_accounts_and_the_results_are_thrown_away(cli, station: Path, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    before = below(tmp_path)
    words = ["profile", station, "--takt", "20ms", "--duration", "5s", "--json", "--max-miss", "100%"]
    done = cli(*words, cwd=tmp_path, env_add={"TMPDIR": str(tmp_path / "temporary")})
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "temporary").glob("lineside*"))
    assert {path for path in below(tmp_path) if not path.startswith("temporary")} == before
    profile = json.loads(done.stdout)
    top, side = profile["branches"]
    assert (top["source"], top["model"], top["deadline_ms"], top["takt_ms"]) == ("top", "model", 3_600_000.0, None)
    assert (top["parts"], top["inspected_in_time"], top["missed_share"]) == (3, 3, 0.0)
    assert (side["takt_ms"], side["deadline_ms"]) == (20.0, 1e-6)
    assert side["parts"] > 3, "a folder of three pictures goes round"
    assert side["inspected_in_time"] == 0 and side["late"]["count"] > 0 and side["missed_share"] == 1.0
    assert top["lateness_ms"] is None and top["missed"] == {"count": 0, "share": 0.0}
    assert side["missed"] == {"count": side["parts"], "share": 1.0}
    assert 0 < side["lateness_ms"]["p50"] <= side["lateness_ms"]["p99"] <= side["lateness_ms"]["max"]
    assert profile["all"]["lateness_ms"] == side["lateness_ms"]
    for run in (top, side, profile["all"]):
        never = run["never_inspected"]
        assert run["parts"] == run["inspected_in_time"] + run["late"]["count"] + never["count"]
        assert run["stages"]["total"]["p50"] <= run["stages"]["total"]["p999"] <= run["stages"]["total"]["max"]
    assert profile["all"]["parts"] == top["parts"] + side["parts"]
    counts = [run["stages"]["total"]["count"] for run in (top, side, profile["all"])]
    assert counts[0] + counts[1] == counts[2]
    assert profile["all"]["stages"]["total"]["max"] == max(it["stages"]["total"]["max"] for it in (top, side))


@pytest.mark.slow
def test_tables_limits_and_a_folder_for_the_results(cli, station: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    done = cli("profile", station, "--duration", "5s", "--max-p99", "1ns", "--out", out, "--set", "top.count=2")
    assert done.returncode == 1 and "top > model: p99 is" in done.stderr
    for text in (
        "two sides",
        "top > model",
        "latency of side > model, ms",
        "latency of all, ms",
        "p99.9",
        "deadlines, ms",
        "late by, p50",
        "3600 s",
    ):
        assert text in done.stdout, text
    assert not (tmp_path / "elsewhere").exists()
    lines = [json.loads(line) for line in (out / "lines" / "lines.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines if line["source"] == "top"] == [0, 1]
    assert (out / "table.csv").is_file()
    done = cli("profile", station, "--duration", "5s", "--max-miss", "50%")
    assert done.returncode == 1 and "side > model: 100.000%" in done.stderr and "error: top" not in done.stderr


def test_what_means_nothing_for_a_station_is_refused(cli, station: Path, bundle: Path, tmp_path: Path) -> None:
    live = station.with_name("live.yaml")
    live.write_text(station.read_text().replace("side: {pictures: {path: parts}}", "side: {pattern: {}}"))
    silent = station.with_name("silent.yaml")
    (tmp_path / "line" / "empty").mkdir()
    silent.write_text(
        f"station: 1\nelements: {{in: {{watch: {{path: empty}}}}, model: {{segment: {{bundle: {bundle}}}}}}}\n"
        "links: [in ! model ! jsonl]\n"
    )
    wrongs = {
        (station, "parts"): "names its own sources: leave out 'parts'",
        (station, "--engine", "auto"): "--engine is for a bundle",
        (station, "--deadline", "1s"): "--deadline is for a bundle",
        (live, "--takt", "40ms"): "its cameras come at their own pace, leave out --takt",
        (silent, "--duration", "0.2s"): "not one part came",
        (tmp_path / "none.yaml",): "cannot be read",
        (bundle,): "name pictures, videos or synthetic",
        (bundle, "synthetic:64x48", "--out", tmp_path): "--out is for a station",
        (bundle, "synthetic:64x48", "--set", "top.count=2"): "--set is for a station",
    }
    for words, reason in wrongs.items():
        done = cli("profile", *words)
        assert done.returncode == 2 and reason in done.stderr and done.stdout == "", (words, done.stderr)


def test_a_file_that_names_a_bundle_is_profiled_as_that_bundle(cli, bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "station.yaml"
    file.write_text(f"station: 1\nbundle: {bundle}\nsources: ['synthetic:64x48']\npolicy: latest\nsinks: [csv]\n")
    done = cli("profile", file, "--takt", "10ms", "--duration", "0.2s", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    profile = json.loads(done.stdout)
    assert [run["policy"] for run in profile["open_loop"]] == ["latest"] and profile["takt_ms"] == 10
    assert list(tmp_path.iterdir()) == [file]


def test_a_signal_ends_it_and_what_was_measured_stays(station: Path) -> None:
    graph = read_station(station)
    plan = plan_of(graph, "it", station.parent)  # type: ignore[arg-type]
    told: list[str] = []

    def interrupt(runner: object) -> None:
        if not told and runner.flows and all(it.counters.snapshot().decided for it in runner.flows.values()):  # type: ignore[attr-defined]
            told.append("now")
            signal.raise_signal(signal.SIGINT)

    profile = profile_station(plan, "it", station.parent, told.append, interrupt, seconds=600.0)
    assert profile.stopped == "SIGINT" and profile.whole.parts == sum(it.parts for it in profile.accounts.values()) > 0


def test_files_come_at_their_own_rate_round_and_round_and_what_nobody_took_is_owed(tmp_path: Path) -> None:
    now = [0]

    def sleep(event: object, seconds: float) -> None:
        now[0] += round(seconds * 1e9)

    path = video(tmp_path / "v.mp4", frames=3)
    source = AtTakt(lambda: Video(path), None, MS, now=lambda: now[0], sleep=sleep)
    stream = source.open()
    assert stream.fps == pytest.approx(25) and source.takt_ns == 40 * MS and not stream.live and stream.frames is None
    frames = source.frames()
    given = [next(frames) for _ in range(7)]
    assert [it.clock[TRIGGER] for it in given] == [k * 40 * MS for k in range(7)]
    assert given[0].pixels is not None and np.array_equal(given[0].bgr(), given[3].bgr())
    now[0] = 500 * MS  # nobody took parts 7 to 12 in time
    late = next(frames)
    assert (late.clock[TRIGGER], late.clock[CAPTURE]) == (280 * MS, 500 * MS)
    source.stop()
    assert source.owed == 500 // 40 + 1 - 8
    assert next(frames, None) is None
    source.close()


def test_pictures_have_the_usual_takt_and_a_source_that_ended_owes_nothing() -> None:
    pixels = [np.zeros((2, 2, 3), np.uint8)]
    now = [0]
    source = AtTakt(lambda: Memory(pixels, 0), None, 7, now=lambda: now[0])
    assert source.open().fps == pytest.approx(1e9 / 7)
    assert list(source.frames()) == [], "a round without a frame ends it"
    now[0] = 1000
    source.stop()
    assert source.owed == 0
    source.close()


def test_every_round_is_a_source_of_its_own_and_closed() -> None:
    made: list[Counting] = []

    def make() -> Counting:
        made.append(Counting(2))
        return made[-1]

    rounds = Rounds(make)
    rounds.open()
    frames = rounds.frames()
    assert [int(next(frames).bgr()[0, 0, 0]) for _ in range(5)] == [0, 1, 0, 1, 0]
    assert len(made) == 3 and [it.closed for it in made] == [1, 1, 0]
    rounds.stop()
    assert not list(frames)
    rounds.close()
    assert made[2].closed == 1
