"""Triggers from outside: every part that a source was asked for is looked at or counted, whatever happens to the source."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.elements import Counting, Keep, Work
from lineside.pipelines.build import Built, build
from lineside.pipelines.catalog import Place, options_of
from lineside.pipelines.counters import Snapshot
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.frame import CAPTURE, TRIGGER, Frame
from lineside.pipelines.looks import BranchName, Look, Way
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.runner import Runner
from lineside.pipelines.triggers import Triggers
from lineside.pipelines.watch.backoff import Delays
from lineside.pipelines.watch.isolated import Isolated
from lineside.pipelines.watch.supervised import Limits, Supervised
from lineside.runtime.errors import BadOption, SourceError

PATIENCE = 120.0
QUICK = Limits(connect=60.0, stall=1.0, grace=2.0, rebuilds=100, delays=Delays(0.05, 0.1, 0.0))
PIXELS = np.zeros((2, 2, 3), np.uint8)


class Watch:
    """Waits until something about a running graph holds."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.events: list[Event] = []
        runner.bus.listen(self.events.append)

    @property
    def counts(self) -> Snapshot:
        (now,) = self.runner.snapshot().values()
        assert now.balanced
        return now

    def until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, (what, self.counts, [it.message for it in self.events])
            time.sleep(0.01)

    def heard(self, kind: str, text: str = "") -> bool:
        return any(event.kind == kind and text in event.message for event in self.events)

    def running(self, name: str) -> None:
        self.until(lambda: self.runner.states()[name] == "RUNNING", "the source runs")

    def stop(self) -> Snapshot:
        assert self.runner.close(drain=PATIENCE)
        now = self.counts
        assert now.in_flight == 0
        return now


def graph(source: Supervised, seen: list[Frame]) -> Watch:
    """A source, a model that does nothing, and a sink that keeps the frames."""
    runner = Runner(source._bus)
    runner.add_source("top", source, rename=True)
    runner.add_model("m", Work())
    runner.add_sink(Keep(gate=seen.append))
    runner.add_look(Look("top", "m", [Way("keep")]))
    watch = Watch(runner)
    runner.start()
    return watch


class Asked:
    """A source of which every fourth frame says itself which trigger it answers."""

    def __init__(self) -> None:
        self.refuses = False
        self.given: list[int] = []

    def trigger(self, part: str | None = None, encoder: int | None = None, when: int | None = None) -> None:
        if self.refuses:
            raise SourceError("the cable was pulled")
        assert when is not None
        self.given.append(when)


@given(
    st.lists(st.sampled_from(["give", "give", "refuse", "answer", "answer stamped", "skip", "lost"]), max_size=60),
    st.integers(0, 2),
)
def test_each_part_is_answered_or_counted_once(steps: list[str], skipped: int) -> None:
    """Answers come in order; ``skip`` answers a later trigger than the oldest, and says which by its stamp alone."""
    source, unseen, bus = Asked(), [0], Bus()
    triggers = Triggers("top", source, lambda parts: unseen.__setitem__(0, unseen[0] + parts), bus)
    waiting: list[int] = []
    asked = accounted = 0
    for moment, step in enumerate(steps):
        now = (moment + 1) * 10
        if step in ("give", "refuse"):
            source.refuses = step == "refuse"
            assert triggers.give(f"part {asked}", asked, when=now) is (step == "give")
            if step == "give":
                waiting.append(now)
            asked += 1
        elif step == "lost":
            triggers.lost("it is gone")
            waiting.clear()
        elif waiting:
            place = min(skipped, len(waiting) - 1) if step == "skip" else 0
            frame = Frame(PIXELS, captured=now)
            if step != "answer":
                frame.stamp(TRIGGER, waiting[place])
            triggers.answered(frame)
            assert frame.missed == place and frame.clock[TRIGGER] == waiting[place] <= frame.clock[CAPTURE]
            accounted += 1 + frame.missed
            del waiting[: place + 1]
            if step == "answer":
                assert frame.part == f"part {frame.encoder}" and frame.encoder is not None
        assert accounted + unseen[0] + len(waiting) == asked
        assert (triggers.oldest is None) == (not waiting)
    triggers.close()
    assert accounted + unseen[0] == asked
    assert triggers.give("late") is False and accounted + unseen[0] == asked + 1, "after its end nobody looks at a part"


def test_a_frame_that_is_older_than_a_trigger_is_not_its_answer() -> None:
    triggers = Triggers("top", Asked(), lambda parts: None, Bus())
    triggers.give("part", when=100)
    early = Frame(PIXELS, captured=99)
    triggers.answered(early)
    assert (early.part, early.missed, TRIGGER in early.clock) == (None, 0, False)
    later = Frame(PIXELS, captured=101)
    later.missed = 7  # The source lost others, which nobody here asked for.
    triggers.answered(later)
    assert (later.part, later.missed) == ("part", 7)


def made(text: str, bus: Bus, folder: Path = Path(), limits: Limits = QUICK) -> Built:
    return build(shape_of(parse_launch(text, folder=folder), "the line"), folder, bus, limits=limits)


def test_parts_are_inspected_when_somebody_says_so(bundle: Path, tmp_path: Path) -> None:
    """Through a whole station: what was said of a part stands in its line, and nothing comes unasked."""
    text = f"synthetic name=top size=64x48 trigger=outside ! segment name=m bundle={bundle} ! jsonl path=lines.jsonl"
    runner = made(text, Bus(), tmp_path).runner
    watch = Watch(runner)
    with pytest.raises(BadOption, match="there is no source 'top' to be triggered; there are: none yet"):
        runner.trigger("top")
    runner.start()
    watch.running("top")
    for number in range(3):
        before = time.monotonic_ns()
        assert runner.trigger("top", f"A{number}", 500 + number)
        watch.until(lambda done=number + 1: watch.counts.inspected == done, "the part is inspected")
        assert time.monotonic_ns() > before
    end = watch.stop()
    assert (end.entered, end.inspected) == (3, 3)
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [(it["trigger"], it["part"], it["encoder"]) for it in lines] == [(k, f"A{k}", 500 + k) for k in range(3)]
    with pytest.raises(BadOption, match="there is no source 'side' to be triggered; there are: top"):
        runner.trigger("side")
    assert runner.trigger("top") is False, "it has ended"
    assert watch.counts.never_inspected == 1


def test_a_deadline_counts_from_the_trigger() -> None:
    source = Supervised(partial(Held, threading.Event()), "top", Bus(), QUICK)
    seen: list[Frame] = []
    runner = Runner(source._bus)
    runner.add_source("top", source, rename=True)
    runner.add_model("m", Work())
    runner.add_look(Look("top", "m", deadline_ns=3_600_000_000_000, listener=seen.append))
    watch = Watch(runner)
    runner.start()
    watch.running("top")
    now = time.monotonic_ns()
    for when in (now - 7_200_000_000_000, now):
        runner.trigger("top", when=when)
        watch.until(lambda: watch.counts.decided == len(seen) > 0, "a result")
    watch.until(lambda: watch.counts.decided == 2, "both results")
    end = watch.stop()
    assert (end.late, end.inspected) == (1, 1)


class Held:
    """A camera with a button: a picture for each push; without a frame as long as ``silent`` is set."""

    def __init__(self, silent: threading.Event) -> None:
        self.silent = silent
        self.pushes: queue.Queue[bool] = queue.Queue()

    def open(self) -> StreamInfo:
        return StreamInfo("button", "camera", live=True, waits=True)

    def trigger(self, part: str | None = None, encoder: int | None = None, when: int | None = None) -> None:
        self.pushes.put(True)

    def frames(self) -> Iterator[Frame]:
        while self.pushes.get():
            if not self.silent.is_set():
                yield Frame(PIXELS, captured=time.monotonic_ns())

    def stop(self) -> None:
        self.pushes.put(False)

    def close(self) -> None:
        """Nothing to free."""


def test_a_trigger_without_a_picture_shows_that_a_camera_is_frozen() -> None:
    silent, seen = threading.Event(), list[Frame]()
    watch = graph(Supervised(partial(Held, silent), "top", Bus(), QUICK, dice=random.Random(1)), seen)
    watch.running("top")
    assert watch.runner.trigger("top", "A1")
    watch.until(lambda: watch.counts.inspected == 1, "the first part")
    silent.set()
    assert watch.runner.trigger("top", "A2") and watch.runner.trigger("top", "A3")
    watch.until(lambda: watch.counts.never_inspected == 2, "both are given up")
    assert watch.heard("source stalled", "no frame for 1 s after a trigger")
    assert watch.heard("trigger lost", "top: 2 parts were not looked at (A2, A3): no frame for 1 s after a trigger")
    silent.clear()
    watch.until(lambda: watch.runner.states()["top"] == "RUNNING", "it runs again")
    watch.until(lambda: watch.runner.trigger("top", "A4"), "it takes triggers again")
    watch.until(lambda: watch.counts.inspected == 2, "a part after it")
    end = watch.stop()
    assert [frame.part for frame in seen] == ["A1", "A4"] and end.entered == end.inspected + end.never_inspected


OWN = '''
import queue
from pathlib import Path
import numpy as np
from lineside.runtime.errors import SourceError

class Button:
    """A camera with a button."""
    live = True

    def __init__(self, there: str) -> None:
        self.there = Path(there)
        self.pushes = queue.Queue()

    def open(self) -> None:
        if not self.there.exists():
            raise SourceError("the camera is off")

    def trigger(self, part, encoder) -> None:
        self.pushes.put(True)

    def frames(self):
        while self.pushes.get():
            if not self.there.exists():
                raise SourceError("the cable was pulled")
            yield np.zeros((8, 8, 3), np.uint8)

    def stop(self) -> None:
        self.pushes.put(False)
'''


def test_a_source_of_ones_own_and_a_camera_that_is_off(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    there = tmp_path / "there"
    text = f"own.py:Button name=top there={there} ! segment name=m bundle={bundle} ! jsonl path=lines.jsonl"
    runner = made(text, Bus(), tmp_path).runner
    watch = Watch(runner)
    runner.start()
    assert runner.trigger("top", "A0") is False, "the camera is off"
    assert (watch.counts.entered, watch.counts.never_inspected) == (1, 1)
    assert watch.heard("trigger lost", "a part was not looked at (A0): top is ")
    there.touch()
    watch.running("top")
    assert runner.trigger("top", "A1", 7)
    watch.until(lambda: watch.counts.inspected == 1, "the part is inspected")
    there.unlink()
    assert runner.trigger("top", "A2"), "nobody knows yet that the cable was pulled"
    watch.until(lambda: watch.counts.never_inspected == 2, "it is counted when that is known")
    assert watch.heard("trigger lost", "(A2): the cable was pulled")
    end = watch.stop()
    assert (end.entered, end.inspected, end.never_inspected) == (3, 1, 2)
    (line,) = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert (line["part"], line["encoder"]) == ("A1", 7)


def isolated() -> Isolated:
    return Isolated(
        "synthetic", options_of("synthetic", {"size": "8x8", "trigger": "outside"}, "test"), Place(name="top")
    )


def test_triggers_reach_a_source_in_another_process_and_its_death_loses_none() -> None:
    built: list[Isolated] = []

    def make() -> Isolated:
        built.append(isolated())
        return built[-1]

    seen: list[Frame] = []
    watch = graph(Supervised(make, "top", Bus(), QUICK, dice=random.Random(1)), seen)
    watch.running("top")
    when = time.monotonic_ns()
    assert watch.runner.trigger("top", "A1", 9, when)
    watch.until(lambda: watch.counts.inspected == 1, "the first part")
    assert (seen[0].part, seen[0].encoder, seen[0].trigger, seen[0].clock[TRIGGER]) == ("A1", 9, 0, when)
    os.kill(built[0]._process.pid, signal.SIGSTOP)
    assert watch.runner.trigger("top", "A2"), "it is in the pipe"
    watch.until(lambda: watch.counts.never_inspected == 1, "the frozen process is noticed by the trigger")
    watch.until(lambda: len(built) > 1 and watch.runner.states()["top"] == "RUNNING", "it runs again")
    watch.until(lambda: watch.runner.trigger("top", "A3"), "it takes triggers again")
    watch.until(lambda: watch.counts.inspected == 2, "a part after it")
    os.kill(built[-1]._process.pid, signal.SIGKILL)
    watch.until(lambda: not watch.runner.trigger("top", "A4"), "the dead process is noticed")
    end = watch.stop()
    assert [frame.part for frame in seen] == ["A1", "A3"]
    assert end.entered == end.inspected + end.never_inspected


def test_a_process_whose_reader_is_gone_ends_although_nothing_triggers_it() -> None:
    source = isolated()
    source.open()
    process = source._process
    assert source._pipe is not None
    source._pipe.close()
    assert process is not None and process.wait(PATIENCE) == 0
    with pytest.raises(SourceError, match="does not hear any more"):
        source.trigger()
    source.close()


def test_what_cannot_be_triggered_says_so_and_counts_nothing() -> None:
    runner = Runner()
    runner.add_source("file", Counting(3))
    options = options_of("synthetic", {"size": "8x8", "fps": 100.0}, "test")
    runner.add_source(
        "paced", Supervised(partial(Isolated, "synthetic", options, Place(name="paced")), "paced", runner.bus)
    )
    runner.add_model("m", Work())
    for name in ("file", "paced"):
        runner.add_look(Look(name, "m"))
    watch = Watch(runner)
    runner.start()
    watch.until(lambda: runner.snapshot()[BranchName("paced", "m")].inspected, "a frame")
    for name in ("file", "paced"):
        with pytest.raises(BadOption, match="cannot be triggered from outside; sources that can are"):
            runner.trigger(name)
    assert runner.close(drain=PATIENCE)
    assert all(it.never_inspected == 0 and it.balanced for it in runner.snapshot().values())


def test_triggers_from_many_threads_while_the_source_comes_and_goes() -> None:
    """A camera that dies at every seventh picture: each part that was asked for is inspected or counted."""

    class Dying(Held):
        def frames(self) -> Iterator[Frame]:
            for count, frame in enumerate(super().frames()):
                if count == 6:
                    raise SourceError("the cable was pulled")
                yield frame

    seen: list[Frame] = []
    limits = Limits(connect=60.0, stall=60.0, grace=2.0, rebuilds=100, delays=Delays(0.01, 0.01, 0.0))
    watch = graph(Supervised(partial(Dying, threading.Event()), "top", Bus(), limits, dice=random.Random(1)), seen)
    watch.running("top")

    def press(button: int) -> None:
        for number in range(40):
            watch.runner.trigger("top", f"{button}-{number}")
            time.sleep(0.002)

    buttons = [threading.Thread(target=press, args=(button,)) for button in range(3)]
    for button in buttons:
        button.start()
    for button in buttons:
        button.join(PATIENCE)
    watch.until(lambda: watch.counts.entered >= 120, "every part is accounted for or waits")
    end = watch.stop()
    assert end.entered == 120 and end.inspected + sum(end.dropped.values()) + end.never_inspected == 120
    parts = [frame.part for frame in seen]
    assert len(parts) == len(set(parts)) and None not in parts, "no part is looked at twice"
