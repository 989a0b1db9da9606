"""A simulated GigE Vision camera loses packets, dies, comes back, or is held by another program; also through a station."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.elements import Work
from helpers.industrial import HERE, PATIENCE, SMALL, device, holder, listening, opened, other_address, until
from lineside.pipelines.aravis.camera import Settings
from lineside.pipelines.aravis.source import AravisSource
from lineside.pipelines.aravis.stream import DAMAGES
from lineside.pipelines.counters import Snapshot
from lineside.pipelines.events import Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.looks import BranchName, Look
from lineside.pipelines.operate import Report, operate
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.runner import Runner
from lineside.pipelines.watch.backoff import Delays
from lineside.pipelines.watch.supervised import Limits, Supervised
from lineside.runtime.errors import SourceError

QUICK = Limits(connect=60.0, stall=2.0, grace=10.0, rebuilds=100, delays=Delays(0.2, 0.5, 0.1))
WORDS = "width=64 height=48 fps=25 format=Mono8"


class Watched:
    """A camera that is watched over, read by a thread; stopped at the end of a ``with``, or it would take the next test's."""

    def __init__(self, settings: Settings = SMALL, limits: Limits = QUICK) -> None:
        self.events: list[Event] = []
        self.frames: list[Frame] = []
        make: Callable[[], AravisSource] = lambda: AravisSource(HERE, settings, name="top")  # noqa: E731
        self.source = Supervised(make, "top", listening(self.events), limits, dice=random.Random(1))
        self.source.open()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for frame in self.source.frames():
            frame.release()
            self.frames.append(frame)

    def heard(self, kind: str, text: str = "") -> bool:
        return any(event.kind == kind and text in event.message for event in self.events)

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.source.stop()
        self._thread.join(PATIENCE)
        if kind is not None:
            print(self.source.state, len(self.frames), *(event.message for event in self.events), sep="\n")
        assert not self._thread.is_alive()


def test_incomplete_pictures_have_no_pixels_and_are_told_once() -> None:
    events: list[Event] = []
    with device() as camera, opened(bus=listening(events), name="top") as source:
        camera.lose(0.5)
        damaged = whole = 0
        calm = False
        for frame in source.frames():
            if frame.damage is not None:
                damaged += 1
                assert frame.pixels is None and frame.damage in DAMAGES.values() and frame.error is None
            else:
                whole += 1
                assert frame.pixels is not None and (frame.bgr()[1:, :-1] == frame.bgr()[:-1, 1:]).all()
            frame.release()
            if damaged >= 40 and events and not calm:
                calm = True
                camera.lose(0.0)
            if len(events) == 2:
                break
    assert calm and whole >= 10
    assert [(event.level, event.kind) for event in events] == [("error", "loss storm"), ("info", "loss storm over")]
    assert "packets" in events[0].message and events[0].element == "top"


def test_what_never_came_is_counted() -> None:
    """Pictures of which no packet arrives leave a gap in the numbers."""
    with device() as camera, opened() as source:
        frames = source.frames()
        numbers = [next(frames).pts]
        camera.lose(1.0)
        # So long that some pictures are gone; there is nothing to wait for while nothing comes.
        threading.Event().wait(0.5)
        camera.lose(0.0)
        whole, lost = 0, 0
        for frame in frames:
            numbers.append(frame.pts)
            lost += frame.missed + (frame.damage is not None)
            whole += frame.damage is None
            frame.release()
            if lost >= 3 and frame.damage is None:
                break
    assert lost >= 3, "frames went on without a gap"
    # The simulator takes 25 pictures a second, and may be late with some.
    assert lost + whole <= round((numbers[-1] - numbers[0]) * 25) + 1


@pytest.mark.slow
def test_a_camera_that_dies_is_an_error() -> None:
    with device() as camera, opened() as source:
        frames = source.frames()
        next(frames).release()
        camera.die()
        with pytest.raises(SourceError, match="does not answer any more; it was switched off or cut off"):
            for frame in frames:
                frame.release()


@pytest.mark.slow
def test_a_dead_camera_is_closed_without_waiting_for_it() -> None:
    with device() as camera:
        source = AravisSource(HERE, SMALL, patience=0.05)
        source.open()
        camera.die()
        source.close()
        names = [thread.name for thread in threading.enumerate()]
        assert f"close {HERE}" in names, "it still waits for an answer; nobody waits for it"
        until(lambda: f"close {HERE}" not in [it.name for it in threading.enumerate()], "it ends by itself")


def test_a_camera_whose_pictures_do_not_arrive() -> None:
    """It answers, but nothing of its pictures gets through."""
    events: list[Event] = []
    with device() as camera, ExitStack() as stack:
        camera.lose(1.0)
        source = stack.enter_context(opened(bus=listening(events), name="top"))
        reader = threading.Thread(target=lambda: [frame.release() for frame in source.frames()])
        reader.start()
        until(lambda: events, "a word about it")
        source.stop()
        reader.join(PATIENCE)
    assert [(event.level, event.kind) for event in events] == [("warning", "camera warning")]
    assert "firewall" in events[0].message and "packet=1400" in events[0].message


def test_a_camera_that_another_program_holds() -> None:
    with device(), holder():
        with pytest.raises(SourceError, match=r"127.0.0.1 is held by another program; end that one.*heartbeat"):
            AravisSource(HERE, SMALL).open()


def test_a_program_that_ends_lets_the_camera_go() -> None:
    with device(), holder() as other, Watched() as watched:
        until(lambda: watched.heard("source backoff", "held by another program"), "the refusal")
        other.communicate("")  # It ends as it should.
        until(lambda: watched.frames, "a frame")


@pytest.mark.slow
def test_the_hold_of_a_crashed_program_ends() -> None:
    # It asks less often than the hold lasts, as a station does after its first attempts.
    with device(), holder() as other, Watched(limits=replace(QUICK, delays=Delays(4.0, 5.0, 0.1))) as watched:
        until(lambda: watched.heard("source backoff", "held by another program"), "the refusal")
        other.kill()
        other.wait()
        until(lambda: len(watched.frames) >= 3, "frames")
    assert watched.frames[0].damage is None


def test_a_camera_that_comes_back_is_taken_again() -> None:
    with Watched() as watched:
        with device():
            until(lambda: len(watched.frames) >= 3, "frames")
        until(lambda: watched.heard("source backoff"), "its loss")
        before = len(watched.frames)
        with device():
            until(lambda: len(watched.frames) >= before + 3, "frames again")
    times = [frame.pts for frame in watched.frames if frame.damage is None]
    assert times == sorted(times), "time goes on"


def test_one_that_waits_for_triggers_is_not_taken_for_a_dead_one() -> None:
    settings = replace(SMALL, fps=None, trigger="line")
    with device() as camera, Watched(settings, replace(QUICK, connect=10.0, stall=0.2)) as watched:
        until(lambda: watched.source.state in ("RUNNING", "BACKOFF"), "a state")
        threading.Event().wait(1.0)
        assert (watched.source.state, watched.source.attempts) == ("RUNNING", 1)
        camera.die()
        until(lambda: watched.heard("source backoff", "does not answer any more"), "its loss")


def test_parts_that_come_while_a_camera_is_gone_are_counted(request: pytest.FixtureRequest) -> None:
    """A software trigger from outside, through the graph: the camera is there, is switched off, and comes back."""
    settings = replace(SMALL, fps=None, trigger="software")
    make: Callable[[], AravisSource] = lambda: AravisSource(HERE, settings, name="top")  # noqa: E731
    events: list[Event] = []
    runner = Runner(listening(events))
    request.addfinalizer(lambda: runner.close(drain=0.0))  # Where it fails, the next test gets its camera all the same.
    runner.add_source("top", Supervised(make, "top", runner.bus, QUICK, dice=random.Random(1)), rename=True)
    runner.add_model("m", Work())
    seen: list[Frame] = []
    runner.add_look(Look("top", "m", listener=seen.append))

    def counts() -> Snapshot:
        (now,) = runner.snapshot().values()
        assert now.balanced
        return now

    def inspected(part: str) -> None:
        assert runner.trigger("top", part, 17)
        # A packet may be lost even here; the part is accounted for then.
        until(lambda: counts().entered == len(asked) and not counts().in_flight, f"what became of {part}")

    asked: list[str] = []
    with device() as camera:
        runner.start()
        until(lambda: runner.states()["top"] == "RUNNING", "the camera runs")
        for asked in (["A0"], ["A0", "A1"]):
            inspected(asked[-1])
        camera.die()
        until(lambda: runner.states()["top"] == "BACKOFF", "its loss")
        before = counts().never_inspected
        assert not runner.trigger("top", "A2")
        assert (counts().entered, counts().never_inspected) == (3, before + 1)
    asked = ["A0", "A1", "A2", "A3"]
    with device():
        until(lambda: runner.states()["top"] == "RUNNING", "the camera runs again")
        inspected("A3")
        assert runner.close(drain=PATIENCE)
    end = counts()
    assert end.entered == 4 == end.inspected + end.incomplete + end.never_inspected + sum(end.dropped.values())
    assert [(it.part, it.encoder) for it in seen if it.damage is None] == [
        (part, 17) for part in ("A0", "A1", "A3") if any(it.part == part and it.damage is None for it in seen)
    ]
    assert end.inspected >= 2 and any(it.kind == "trigger lost" and "(A2)" in it.message for it in events)


def run(text: str, folder: Path, enough: Callable[[Runner], bool]) -> tuple[Report, list[Event]]:
    """Runs a station until something holds, and asks it to end as a service manager would."""
    events: list[Event] = []
    asked = False

    def show(runner: Runner) -> None:
        nonlocal asked
        if not asked and enough(runner):
            asked = True
            os.kill(os.getpid(), signal.SIGTERM)

    shape = shape_of(parse_launch(text))
    report = operate(shape, folder, lambda sentence: None, show, bus=listening(events), limits=QUICK, seconds=PATIENCE)
    assert asked, [event.message for event in events]
    return report, events


def test_a_station_counts_incomplete_pictures_and_never_looks_at_them(bundle: Path, tmp_path: Path) -> None:
    text = f'aravis id={HERE} name=top {WORDS} ! segment bundle="{bundle}" name=model ! jsonl path=out.jsonl'
    branch = BranchName("top", "model")

    def enough(runner: Runner) -> bool:
        counts = runner.snapshot()[branch]
        return counts.inspected >= 5 and counts.incomplete >= 5

    with device() as camera:
        camera.lose(0.15)
        report, _ = run(text, tmp_path, enough)
    counts = report.branches[branch].counts
    settled = counts.inspected + counts.late + sum(counts.dropped.values()) + counts.incomplete
    assert counts.entered == settled + counts.never_inspected + counts.failed and counts.in_flight == 0
    assert counts.failed == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sum(not line.get("error") for line in lines) >= 5


def test_two_cameras_and_one_dies(bundle: Path, tmp_path: Path) -> None:
    address = other_address()
    text = (
        f'aravis id={HERE} name=near {WORDS} ! segment bundle="{bundle}" name=model ! jsonl path=out.jsonl  '
        f"aravis id={address} name=far {WORDS} receive=plain ! model."
    )
    near, far = BranchName("near", "model"), BranchName("far", "model")
    died: list[int] = []

    with device(), device(address, "GV02") as second:

        def enough(runner: Runner) -> bool:
            counts = runner.snapshot()
            if not died and min(counts[near].inspected, counts[far].inspected) >= 3:
                second.die()
                died.append(counts[near].inspected)
            return bool(died) and runner.states()["far"] == "BACKOFF" and counts[near].inspected >= died[0] + 10

        report, events = run(text, tmp_path, enough)
    assert report.branches[near].counts.inspected >= died[0] + 10
    assert not any(event.element == "near" and event.kind == "source backoff" for event in events)
    names = {json.loads(line)["source"] for line in (tmp_path / "out.jsonl").read_text().splitlines()}
    assert names == {"near", "far"}
