"""A station is heard by nobody, or hangs before it has begun: it ends all the same when it is asked to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.media import pictures
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.operate import operate
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.problems import Problems
from lineside.pipelines.signals import Signals, patiently
from lineside.pipelines.voice import Voice

OWN = """
import time
from pathlib import Path

class Stuck:
    def open(self):
        Path("opening").touch()
        time.sleep(1e6)

    def frames(self):
        yield


def complains(frame) -> None:
    raise ValueError("x" * 5000)
"""


def until(done: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while not done():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)


def launched(row: str, folder: Path, **streams: int) -> subprocess.Popen[bytes]:
    (folder / "own.py").write_text(OWN)
    return subprocess.Popen([sys.executable, "-m", "lineside", "launch", row, "--json"], cwd=folder, **streams)


def test_a_source_that_hangs_in_its_opening_can_be_interrupted(bundle: Path, tmp_path: Path) -> None:
    row = f"own.py:Stuck ! segment bundle={bundle} ! jsonl"
    process = launched(row, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until((tmp_path / "opening").exists, process)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and not out and errors == b"interrupted\n"


def test_a_station_that_nobody_listens_to_works_and_ends(bundle: Path, tmp_path: Path) -> None:
    """The pipe of its complaints is full and nobody reads it: as after Ctrl-S, or behind a pager."""
    pictures(tmp_path / "parts", [(48, 64)] * 3)
    row = (
        f"synthetic name=line path=parts fps=50 ! tee name=t ! segment bundle={bundle} ! jsonl path=lines.jsonl  "
        f"t. ! own.py:complains ! segment name=m bundle={bundle} ! csv"
    )
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"." * 4096)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b".")
    os.set_blocking(writer, True)
    process = launched(row, tmp_path, stdout=subprocess.PIPE, stderr=writer)
    grown = tmp_path / "lines.jsonl.part"
    until(lambda: any(it.read_bytes().count(b"\n") > 25 for it in tmp_path.glob("lines*.jsonl*")), process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    os.close(reader)
    os.close(writer)
    report = json.loads(out)
    assert process.returncode == 1 and report["stopped"] == "SIGTERM" and not report["hanging"]
    good, bad = report["branches"]
    assert len(report["problems"]) == min(20, bad["counts"]["failed"]), "what was not said is in the report"
    lines = (tmp_path / "lines.jsonl").read_text().splitlines()
    assert len(lines) == good["counts"]["inspected"] > 25 and not grown.exists()


HANGING = """
import sys
import threading
from pathlib import Path

import numpy as np

from lineside.cli.endings import leave
from lineside.pipelines.operate import operate
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of


def hang(place):
    Path(place).touch()
    threading.Event().wait()


def source():
    yield np.zeros((8, 8, 3), np.uint8)
    hang("reading")


class Write:
    def write(self, frame):
        hang("writing")


class Close:
    def write(self, frame):
        Path("written").touch()

    def close(self, missing=0):
        hang("closing")


if __name__ == "__main__":
    times = dict(zip(("drain", "finish", "grace"), map(float, sys.argv[2:]), strict=True))
    report = operate(shape_of(parse_launch(sys.argv[1], folder=Path())), Path(), print, **times)
    print(*report.hanging, sep="\\n", flush=True)
    sys.exit(leave(1))
"""
SLACK = 40.0
"""Seconds that a machine with much else to do may add to what the settings promise; less than the usual ``finish``."""


def ended(process: subprocess.Popen[str]) -> str:
    """What a process has said by its end; one that does not end is killed."""
    try:
        return process.communicate(timeout=120)[0]
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("row", "places", "hanging"),
    [
        ("own.py:source ! jsonl floor=0B", ["reading"], ["source source"]),
        ("synthetic path=parts fps=50 ! own.py:Write", ["writing"], ["sink Write"]),
        ("synthetic path=parts fps=50 ! own.py:Close", ["written"], ["sink Close"]),
        (
            "own.py:source ! tee name=t ! own.py:Write  t. ! own.py:Close",
            ["reading", "writing", "written"],
            ["sink Close", "sink Write", "source source"],
        ),
    ],
    ids=["source", "write", "close", "all"],
)
def test_whatever_hangs_a_signal_ends_a_station_within_what_its_settings_promise(
    tmp_path: Path, row: str, places: list[str], hanging: list[str]
) -> None:
    """The promise of `operate`, and of docs/station.md for who sets the time that a service manager waits."""
    drain, finish, grace, around = 0.4, 1.5, 0.6, 10.0
    pictures(tmp_path / "parts", [(48, 64)])
    (tmp_path / "own.py").write_text(HANGING)
    words = [sys.executable, "own.py", row, *map(str, (drain, finish, grace))]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(lambda: all((tmp_path / place).exists() for place in places), process)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out = ended(process)
    took = time.monotonic() - begin
    assert process.returncode == 1, out
    assert sorted(out.splitlines()[-len(hanging) :]) == hanging, out
    assert took <= drain + finish + grace + around + SLACK


def test_a_second_signal_does_not_wait_for_a_file_that_is_put_together(tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(48, 64)])
    (tmp_path / "own.py").write_text(HANGING)
    words = [sys.executable, "own.py", "synthetic path=parts fps=50 ! own.py:Close", "1e6", "1e6", "0.5"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until((tmp_path / "written").exists, process)
    process.send_signal(signal.SIGTERM)
    until((tmp_path / "closing").exists, process)
    process.send_signal(signal.SIGINT)
    out = ended(process)
    assert process.returncode == 1 and "sink Close" in out.splitlines()


def test_what_a_sink_without_a_model_lost_is_reported(tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(48, 64)] * 9)
    (tmp_path / "own.py").write_text(
        "import time\n\nclass Slow:\n    def write(self, frame):\n        time.sleep(0.3)\n\n"
        "class Full:\n    def write(self, frame):\n        raise OSError('no space')\n"
    )
    rows = {
        "queue policy=drop-oldest:1 ! own.py:Slow": ("dropped", 0),
        "own.py:Full": ("failed", 9),
        "jsonl": ("written", 9),
    }
    for row, (what, count) in rows.items():
        shape = shape_of(parse_launch(f"pictures path=parts ! {row}", folder=tmp_path))
        report = operate(shape, tmp_path, lambda sentence: None)
        (sink,) = report.to_dict()["feeds"][0]["sinks"].values()
        assert sink["given"] == 9 and sink[what] >= count and report.complete is (what == "written")


def test_results_that_are_given_up_at_the_end_are_told(tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(48, 64)])
    (tmp_path / "own.py").write_text(
        "import time\n\nclass Slow:\n    def write(self, frame):\n        time.sleep(1.0)\n"
    )
    shape = shape_of(parse_launch("synthetic path=parts fps=50 ! own.py:Slow", folder=tmp_path))
    report = operate(shape, tmp_path, lambda sentence: None, seconds=2.0, drain=0.1, grace=60.0)
    (sink,) = report.feeds[next(iter(report.feeds))].sinks.values()
    assert sink.dropped and not report.hanging and not report.complete
    assert any("results that still waited at the end are not in it" in problem for problem in report.problems)


def test_what_a_run_before_left_is_said_and_no_problem_of_this_one() -> None:
    said: list[str] = []
    problems = Problems(said.append)
    problems(Event("warning", "lines", "mended", "lines.jsonl was left behind", 0))
    problems(Event("warning", "lines", "disk full", "no space", 0))
    assert said == ["lines.jsonl was left behind", "no space"] and problems.messages == ["no space"]


class Watch:
    """A monotonic clock that the test sets."""

    def __init__(self) -> None:
        self.time = 1e6

    def __call__(self) -> float:
        return self.time


def test_what_happens_now_and_then_for_months_is_said_each_time_and_the_report_stays_short() -> None:
    said: list[str] = []
    watch = Watch()
    problems = Problems(said.append, now=watch)
    stalls = [f"stall {number}" for number in range(500)]
    for text in stalls:
        problems(Event("warning", "top", "source stalled", text, 0))
        watch.time += 3600
    assert said == stalls and problems.messages == stalls[:20]


def test_what_happens_all_the_time_is_said_a_hundred_times_and_then_once_a_minute() -> None:
    said: list[str] = []
    watch = Watch()
    problems = Problems(said.append, now=watch)
    for number in range(30_000):  # ten a second, for fifty minutes
        problems(Event("warning", "top", "camera warning", f"warning {number}", 0))
        watch.time += 0.1
    assert 100 + 49 <= len(said) <= 101 + 50
    assert said[:100] == [f"warning {number}" for number in range(100)]
    assert said[-1].endswith("(599 more since the last message)"), "and what was not said is counted"
    problems(Event("warning", "side", "camera warning", "of another one", 0))
    assert said[-1] == "of another one" and len(problems.messages) == 21


def test_what_the_bus_has_let_through_is_said() -> None:
    """The bus cuts what comes with every frame; what it tells is not cut a second time."""
    said: list[str] = []
    told: list[Event] = []
    watch = Watch()
    bus = Bus(now=watch)
    bus.listen(told.append)
    bus.listen(Problems(said.append, now=lambda: watch.time + len(told) % 7 * 1e-3))  # It looks at its clock later.
    for number in range(9000):
        bus.often("error", "top", "frame failed", f"frame {number}")
        watch.time += 1.0
    assert said == [event.message for event in told] and 245 <= len(said) <= 251
    assert said[-1].endswith("(59 more since the last message)")


def test_what_is_said_comes_in_order_and_before_the_end() -> None:
    said: list[str] = []
    with Voice(said.append) as voice:
        for number in range(100):
            voice.say(str(number))
        voice.do(lambda: said.append("last"))
    assert said == [*map(str, range(100)), "last"]


def test_a_user_who_has_left_is_not_told_and_costs_nothing() -> None:
    told: list[str] = []

    def say(message: str) -> None:
        told.append(message)
        raise BrokenPipeError

    with Voice(say) as voice:
        voice.say("a")
        voice.say("b")
    assert told == ["a", "b"]


def test_work_that_ends_is_not_interrupted() -> None:
    signals = Signals()
    assert patiently(lambda: 7, signals, 60.0) == 7
    signals.received.append("SIGTERM")
    assert patiently(lambda: 7, signals, 60.0) == 7
    with pytest.raises(ZeroDivisionError):
        patiently(lambda: 1 // 0, signals, 60.0)
    with pytest.raises(KeyboardInterrupt):
        patiently(lambda: time.sleep(100), signals, 0.0)
