"""``lineside profile``: the real thing, with threads and clocks; nothing here depends on how fast this machine is."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from helpers.elements import Counting, Work
from helpers.media import pictures, video
from lineside.cli import main
from lineside.cli.live import show_progress
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.graph import Graph
from lineside.pipelines.profile.measure import closed_loop, open_loop
from lineside.pipelines.profile.pictures import preload
from lineside.pipelines.sources.find import find
from lineside.runtime.errors import SourceError

PIXELS = [np.zeros((2, 2, 3), np.uint8)]
LONG = 60.0
TAKT = 1_000


def stamped(frame: Frame) -> None:
    for stage in ("preprocess", "infer", "postprocess"):
        frame.stamp(stage)


def stall() -> tuple[Work, Bus]:
    """A transform that stands still on part 0 until the last part has been triggered."""
    bus, ended = Bus(), threading.Event()
    bus.listen(lambda event: ended.set() if event.kind == "ended" else None)

    def work(frame: Frame) -> None:
        if frame.sequence == 0:
            assert ended.wait(LONG)
        stamped(frame)

    return Work(work), bus


def test_a_stall_with_the_newest_kept_leaves_parts_uninspected() -> None:
    work, bus = stall()
    got = open_loop(
        work, PIXELS, policy="latest", takt_ns=TAKT, deadline_ns=3_600_000_000_000, seconds=200 * TAKT / 1e9, bus=bus
    )
    assert got.parts == 200
    # Part 1 may have taken the place before part 0 was fetched from it.
    assert got.counts.dropped["inspect"] in (198, 199) and got.uninspected == got.counts.dropped["inspect"]
    assert got.never_inspected == pytest.approx(got.missed) and got.late == 0


def test_a_stall_with_every_part_kept_makes_those_behind_it_late() -> None:
    work, bus = stall()
    got = open_loop(work, PIXELS, policy="every", takt_ns=TAKT, deadline_ns=1, seconds=200 * TAKT / 1e9, bus=bus)
    assert (got.parts, got.counts.late, got.uninspected) == (200, 200, 0)
    assert got.stages["total"].count == 200 and got.stages["arrival"].count == 200
    # The first part waits for the last trigger, 199 takts later by plan, whatever this machine does.
    assert got.stages["total"].max >= 199 * TAKT / 1e6 * 0.999


def test_a_failing_part_is_never_inspected() -> None:
    def work(frame: Frame) -> None:
        stamped(frame)
        if frame.sequence == 3:
            raise ValueError("a fault")

    got = open_loop(Work(work), PIXELS, policy="every", takt_ns=TAKT, deadline_ns=3_600_000_000_000, seconds=1e-5)
    assert (got.parts, got.counts.failed, got.uninspected, got.counts.inspected) == (10, 1, 1, 9)


def test_closed_loop_takes_one_part_after_the_other() -> None:
    inside = threading.Lock()

    def work(frame: Frame) -> None:
        assert inside.acquire(blocking=False)
        stamped(frame)
        inside.release()

    got = closed_loop(Work(work), PIXELS, seconds=0.0, takt_ns=TAKT, deadline_ns=TAKT, least=30)
    assert (got.loop, got.parts, got.uninspected) == ("closed", 30, 0)
    assert got.stages["service"].count == 30


def test_an_early_stop_counts_what_was_left() -> None:
    stop = threading.Event()

    def work(frame: Frame) -> None:
        stop.set()

    got = open_loop(
        Work(work), PIXELS, policy="every", takt_ns=TAKT, deadline_ns=TAKT, seconds=3600.0, stopped=stop.is_set
    )
    assert got.parts == got.counts.decided + got.uninspected > 0


def test_pictures_are_decoded_beforehand(tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(8, 8), (9, 9), (10, 10)])
    (tmp_path / "parts" / "part1.png").write_bytes(b"bad")
    arrays, name = preload(find([str(tmp_path / "parts")]), "parts")
    assert [array.shape for array in arrays] == [(8, 8, 3), (10, 10, 3)] and name == "parts"
    arrays, _ = preload(find([str(video(tmp_path / "v.mp4", frames=100))]))
    brightness = [float(array[:6].mean()) for array in arrays]
    np.testing.assert_allclose(brightness, 4 * np.arange(64) % 256, atol=6)
    assert len(preload(find(["synthetic:32x16"]))[0]) == 8
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"bad")
    with pytest.raises(SourceError, match=r"no picture to profile with: cannot read .*x\.png"):
        preload(find([str(tmp_path / "bad")]))


def test_the_command_prints_accounts_that_add_up(cli, bundle: Path) -> None:
    words = ["profile", bundle, "synthetic:64x48", "--takt", "10ms", "--duration", "0.4s"]
    done = cli(*words, "--json", "--max-miss", "100%", "--max-p99", "1h")
    assert done.returncode == 0, done.stderr
    profile = json.loads(done.stdout)
    assert (profile["takt_ms"], profile["deadline_ms"], profile["size"]) == (10, 10, [48, 64])
    assert [run["policy"] for run in profile["open_loop"]] == ["latest", "every"]
    for run in [profile["closed_loop"], *profile["open_loop"]]:
        never = run["never_inspected"]
        assert run["parts"] == run["inspected_in_time"] + run["late"]["count"] + never["count"]
        assert never["count"] == sum(never["dropped"].values()) + never["failed"] + never["left_in_queue"]
        for stage in ("preprocess", "infer", "postprocess", "service", "total"):
            row = run["stages"][stage]
            assert 0 <= row["p50"] <= row["p90"] <= row["p99"] <= row["p999"] <= row["max"]
    assert profile["open_loop"][1]["parts"] == 40
    assert profile["closed_loop"]["parts"] >= 20


def test_limits_and_bad_input_have_their_exit_codes(cli, bundle: Path) -> None:
    words = ["profile", bundle, "synthetic:64x48", "--duration", "0.1s", "--policy", "every"]
    done = cli(*words, "--max-p99", "1ns")
    assert done.returncode == 1 and "policy every: p99 is" in done.stderr
    assert "from trigger, all parts wait" in done.stdout and "service time only" in done.stdout
    wrongs = {"--takt=40": "'40' is not a time", "--max-miss=3": "above 100 %", "--imgsz=96x160": "an input of 96x160"}
    for wrong, reason in wrongs.items():
        done = cli(*words, wrong)
        assert done.returncode == 2 and reason in done.stderr and done.stdout == ""


def test_a_profile_that_is_interrupted_passes_no_limit(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def interrupt(title: str) -> Iterator[Callable[[Graph], None]]:
        yield lambda graph: signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("lineside.cli.live.show_progress", interrupt)
    words = ["profile", str(bundle), "synthetic:64x48", "--duration", "2s", "--max-miss", "100%", "--json"]
    assert main(words) == 130
    out, errors = capsys.readouterr()
    profile = json.loads(out)
    assert profile["stopped"] == "SIGINT" and "ended early by SIGINT" in errors
    assert [run["policy"] for run in profile["open_loop"]] == ["latest"], "the loops after it were left out"


def test_the_rate_shown_is_that_of_the_graph_that_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 100.0, 110.0, 110.0, 200.0, 200.0, 210.0, 210.0])
    graphs = [Graph(Counting(10), Work()) for _ in range(2)]
    for graph in graphs:
        graph.run()
    with monkeypatch.context() as patched, show_progress("at work") as show:
        patched.setattr("lineside.cli.live.time", Clock(clock))
        for graph in graphs:
            show(graph)
            show(graph)
    assert capsys.readouterr().err.splitlines() == ["at work: 10 of 10 frames, 1.0 fps"] * 2


class Clock:
    """Stands for the module ``time``."""

    def __init__(self, moments: Iterator[float]) -> None:
        self._moments = moments

    def monotonic(self) -> float:
        return next(self._moments)
