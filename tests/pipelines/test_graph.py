"""The graph at work: real threads, no sleeps."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from helpers.elements import Counting, Keep, Work
from lineside.pipelines.counters import Snapshot
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.frame import CAPTURE, DECIDED, DONE, READ, TAKEN, Frame
from lineside.pipelines.graph import Branch, Graph
from lineside.pipelines.link import Policy
from lineside.pipelines.looks import BranchName, Feed, Look, Way
from lineside.pipelines.runner import Runner
from lineside.pipelines.stages import TOTAL
from lineside.runtime.errors import BadFrame, SinkError, SourceError

LONG = 60.0


def test_every_frame_of_a_file_reaches_every_sink_in_order() -> None:
    source, work = Counting(300), Work(lanes=4)
    ahead = threading.Event()

    def wait(frame: Frame) -> None:
        assert ahead.wait(LONG), "one sink waited for the other"

    slow = Keep("slow", gate=wait)
    fast = Keep("fast", gate=lambda frame: ahead.set() if frame.sequence == 3 else None)
    graph = Graph(source, work, [slow, fast])
    graph.run()
    assert slow.frames == fast.frames == list(range(300))
    counts = graph.flow.counters.snapshot()
    assert counts.balanced and counts.inspected == 300 and counts.in_flight == 0
    assert (source.closed, work.opened, work.closed, slow.closed, fast.closed) == (1, 1, 1, 1, 1)
    assert graph.hanging() == []


def test_the_stage_clock_runs_from_capture_to_the_last_sink() -> None:
    stamps: list[list[str]] = []

    def work(frame: Frame) -> None:
        for stage in ("preprocess", "infer", "postprocess"):
            frame.stamp(stage)

    graph = Graph(Counting(5), Work(work), [Keep()], listener=lambda frame: stamps.append(list(frame.clock)))
    graph.run()
    assert stamps == [[CAPTURE, READ, TAKEN, "preprocess", "infer", "postprocess", DECIDED, "sink keep", DONE]] * 5
    stats = graph.flow.clock.stats()
    assert stats[TOTAL].count == stats["infer"].count == 5
    assert "arrival" not in stats, "nothing triggered these frames"


def test_a_failing_frame_is_counted_told_and_passed_by() -> None:
    def work(frame: Frame) -> None:
        if frame.sequence % 10 == 3:
            raise BadFrame("this one is odd")

    heard: list[Event] = []
    bus = Bus()
    bus.listen(heard.append)
    good, all_of_them = Keep("good"), Keep("all", takes_failed=True)
    graph = Graph(Counting(40), Work(work, lanes=3), [good, all_of_them], bus=bus)
    graph.run()
    assert good.frames == [k for k in range(40) if k % 10 != 3]
    assert all_of_them.frames == list(range(40))
    assert [k for k, error in zip(all_of_them.frames, all_of_them.errors, strict=True) if error] == [3, 13, 23, 33]
    assert graph.flow.counters.snapshot().failed == 4
    failures = [event for event in heard if event.kind == "frame failed"]
    assert len(failures) == 4 and failures[0].message == "frame 3: this one is odd"


def test_latest_gives_the_newest_frame_and_counts_the_others() -> None:
    busy, go = threading.Event(), threading.Event()

    def work(frame: Frame) -> None:
        if frame.sequence == 0:
            busy.set()
            assert go.wait(LONG)

    def gate(number: int) -> None:
        if number == 1:
            assert busy.wait(LONG)

    source = Counting(50, live=True, gate=gate)
    keep = Keep()
    graph = Graph(source, Work(work), [keep], policy=Policy("latest"))
    source_ended = threading.Event()
    graph.bus.listen(lambda event: source_ended.set() if event.kind == "ended" else None)
    graph.start()
    assert source_ended.wait(LONG)
    go.set()
    assert graph.join(LONG)
    assert keep.frames == [0, 49]
    counts = graph.flow.counters.snapshot()
    assert counts.dropped == {"inspect": 48} and counts.inspected == 2 and counts.balanced


def test_a_file_source_is_held_back_and_nothing_is_lost() -> None:
    go = threading.Event()

    def work(frame: Frame) -> None:
        assert go.wait(LONG)

    source = Counting(100)
    held = threading.Event()
    graph = Graph(source, Work(work), policy=Policy("every", 2))
    source.gate = lambda number: held.set() if number == 3 else None
    graph.start()
    assert held.wait(LONG)
    assert source.given <= 4, "one in work, two in the queue, one in the source's hand"
    go.set()
    assert graph.join(LONG)
    assert graph.flow.counters.snapshot().inspected == 100


def test_a_slow_sink_never_slows_the_inspection_of_a_live_source() -> None:
    go, decided = threading.Event(), threading.Event()
    slow = Keep("slow", gate=lambda frame: go.wait(LONG) or pytest.fail("never let go"))
    fast = Keep("fast", gate=lambda frame: decided.set() if frame.sequence == 99 else None)
    throttle = threading.Semaphore(0)
    branches = [Branch(slow, Policy("drop-oldest", 3)), Branch(fast, Policy("drop-oldest", 1000))]
    graph = Graph(
        Counting(100, live=True, gate=lambda number: None if not number else throttle.acquire()),
        Work(lambda frame: throttle.release()),
        branches,
        policy=Policy("every", 100),
    )
    graph.start()
    assert decided.wait(LONG), "the fast sink got everything while the slow one stood still"
    go.set()
    assert graph.join(LONG)
    counts = graph.flow.counters.snapshot()
    assert counts.inspected == 100 and fast.frames == list(range(100))
    assert counts.sinks["slow"].dropped >= 96 and len(slow.frames) == counts.sinks["slow"].written
    assert slow.frames[-1] == 99 and counts.balanced


def test_snapshots_taken_at_any_moment_add_up() -> None:
    rng = np.random.default_rng(3)
    fails = (rng.random(2000) < 0.1).tolist()
    fails[0], fails[-1] = True, False

    snapshots: list[Snapshot] = []

    def work(frame: Frame) -> None:
        snapshots.append(graph.flow.counters.snapshot())  # While the source, three lanes and two sinks go on.
        if fails[frame.sequence]:
            raise ValueError("a fault")

    def write(frame: Frame) -> None:
        if frame.sequence % 2:
            raise OSError("no space")

    graph = Graph(
        Counting(2000),
        Work(work, lanes=4),
        [Branch(Keep("a", gate=write), Policy("latest")), Branch(Keep("b"), Policy("drop-oldest", 4))],
        policy=Policy("every", 3),
    )
    graph.run()
    # At least the frame in hand; at most the queue, what lanes hold or have finished too early, one with the source.
    assert all(it.balanced and 1 <= it.in_flight <= 3 + 4 * 5 + 1 for it in snapshots)
    end = graph.flow.counters.snapshot()
    assert len(snapshots) == end.entered == 2000 and end.in_flight == 0 and end.balanced
    assert end.failed == sum(fails) and end.inspected == 2000 - sum(fails)
    assert end.sinks["a"].failed > 0, "at least the last frame met the broken sink"


def test_stop_lets_the_queue_through() -> None:
    started = threading.Event()
    source = Counting(10**9)
    keep = Keep(gate=lambda frame: started.set())
    graph = Graph(source, Work(lanes=2), [keep])
    graph.start()
    assert started.wait(LONG)
    assert graph.close(drain=LONG)
    counts = graph.flow.counters.snapshot()
    assert counts.inspected == counts.entered == len(keep.frames) and counts.lost == 0
    assert keep.closed == source.closed == 1


def test_an_element_that_hangs_is_named_and_left_behind() -> None:
    never, inside = threading.Event(), threading.Event()

    def work(frame: Frame) -> None:
        if frame.sequence == 2:
            inside.set()
            never.wait()

    heard: list[Event] = []
    bus = Bus()
    bus.listen(heard.append)
    graph = Graph(Counting(50), Work(work), [Keep()], policy=Policy("every", 3), bus=bus)
    graph.start()
    assert inside.wait(LONG)
    assert not graph.close(drain=0.0, grace=0.2)
    assert "lane 0 of model" in graph.hanging()
    assert any(event.kind == "hung" and "lane 0" in event.message for event in heard)
    counts = graph.flow.counters.snapshot()
    assert counts.balanced and counts.inspected == 2
    assert 1 <= counts.in_flight <= 2, "the frame in the hanging lane, perhaps one in the source's hand"
    assert counts.never_inspected >= 1
    never.set()
    assert graph.join(LONG)
    assert graph.flow.counters.snapshot().balanced


def test_a_sink_that_hangs_does_not_keep_another_from_finishing() -> None:
    never, inside, finished = threading.Event(), threading.Event(), threading.Event()

    def hang(frame: Frame) -> None:
        inside.set()
        never.wait()

    file = Keep("file")
    file.close = lambda missing=0: finished.set()  # type: ignore[method-assign]
    graph = Graph(Counting(10**9), Work(lanes=2), [Keep("stuck", gate=hang), file])
    graph.start()
    assert inside.wait(LONG)
    assert not graph.close(drain=0.0, grace=0.1)
    assert finished.wait(LONG), "the file is closed although the other sink never returned"
    assert "sink stuck" in graph.hanging() and graph.flow.counters.snapshot().balanced
    never.set()
    assert graph.join(LONG)


def test_a_source_that_breaks_ends_the_graph_and_says_why() -> None:
    heard: list[Event] = []
    bus = Bus()
    bus.listen(heard.append)
    keep = Keep()
    graph = Graph(Counting(10, breaks=4), Work(), [keep], bus=bus)
    graph.run()
    assert keep.frames == [0, 1, 2, 3] and keep.closed == 1
    assert isinstance(graph.failure, SourceError)
    assert [event.message for event in heard if event.kind == "source failed"] == ["the cable was pulled"]


def test_a_sink_that_cannot_be_opened_closes_what_was() -> None:
    source, work = Counting(5), Work()
    first = Keep("first")
    with pytest.raises(SinkError):
        Graph(source, work, [first, Keep("second", refuses=True)]).start()
    assert (source.closed, work.closed, first.closed) == (1, 1, 1)


def test_a_broken_sink_is_said_once_and_counted_each_time() -> None:
    def full(frame: Frame) -> None:
        raise OSError("no space left on device")

    heard: list[Event] = []
    bus = Bus()
    bus.listen(heard.append)
    other = Keep("other")
    graph = Graph(Counting(20), Work(), [Keep("broken", gate=full), other], bus=bus)
    graph.run()
    assert graph.flow.counters.snapshot().sinks["broken"].failed == 20
    assert len(other.frames) == 20
    assert [event.element for event in heard if event.kind == "sink failed"] == ["broken"]


def test_limit_ends_a_run_early() -> None:
    keep = Keep()
    graph = Graph(Counting(100), Work(), [keep], limit=7)
    graph.run()
    assert keep.frames == list(range(7)) and graph.flow.counters.snapshot().entered == 7


def test_late_frames_are_late() -> None:
    clock = iter(range(0, 10**9, 1000))
    graph = Graph(Counting(10), Work(), [Keep()], deadline_ns=0, now=lambda: next(clock) + 10)
    graph.run()
    counts = graph.flow.counters.snapshot()
    assert (counts.late, counts.inspected, counts.sinks["keep"].written) == (10, 0, 10)


def test_a_buffer_goes_back_when_the_last_holder_lets_go() -> None:
    back: list[object] = []
    pixels = np.zeros((2, 2, 3), np.uint8)
    frame = Frame(pixels, recycle=back.append)
    frame.hold()
    frame.release()
    assert back == [] and frame.pixels is pixels
    frame.release()
    assert back[0] is pixels and frame.pixels is None and frame.size == (2, 2)


def test_a_listener_that_fails_is_taken_off() -> None:
    heard: list[str] = []
    bus = Bus()

    def bad(event: Event) -> None:
        heard.append("bad")
        raise RuntimeError("no")

    bus.listen(bad)
    leave = bus.listen(lambda event: heard.append(event.kind))
    bus.emit("info", "e", "one", "m")
    bus.emit("info", "e", "two", "m")
    leave()
    bus.emit("info", "e", "three", "m")
    assert heard == ["bad", "one", "listener failed", "two"]


def test_transforms_of_one_sink_work_on_its_own_picture_and_are_closed_with_it() -> None:
    seen: dict[str, list[int]] = {"plain": [], "bright": []}
    bright = Work(lambda frame: frame.show(frame.bgr() + np.uint8(100)))
    runner = Runner()
    runner.add_source("line", Counting(4))
    runner.add_model("model", Work())
    for name in seen:
        runner.add_sink(Keep(name, gate=lambda frame, n=name: seen[n].append(int(frame.bgr()[0, 0, 0]))))
    runner.add_look(Look("line", "model", [Way("plain"), Way("bright", chain=[bright])]))
    runner.start()
    assert runner.join(LONG)
    assert seen == {"plain": [0, 1, 2, 3], "bright": [100, 101, 102, 103]}
    assert (bright.opened, bright.closed) == (1, 1)


def test_a_source_goes_to_two_models_and_to_a_sink_without_one() -> None:
    kept, runner = [Keep("a"), Keep("b"), Keep("raw")], Runner()
    runner.add_source("line", Counting(6))
    back: list[int] = []
    for name, keep in zip("ab", kept, strict=False):
        runner.add_model(name, Work(lambda frame: back.append(frame.sequence)))
        runner.add_sink(keep)
        runner.add_look(Look("line", name, [Way(keep.name)]))
    runner.add_sink(kept[2])
    runner.add_feed(Feed("line", [Way("raw")]))
    runner.start()
    assert runner.join(LONG)
    assert [keep.frames for keep in kept] == [list(range(6))] * 3 and sorted(back) == sorted([*range(6)] * 2)
    assert {name.model: counts.inspected for name, counts in runner.snapshot().items()} == {"a": 6, "b": 6}
    assert runner.states() == {"line": "ENDED"}


def test_a_dead_source_takes_nothing_from_another() -> None:
    never, through = threading.Event(), threading.Event()
    keep, runner = Keep(gate=lambda frame: through.set() if frame.sequence == 49 else None), Runner()
    runner.add_source("dead", Counting(9, live=True, gate=lambda k: never.wait() and None), rename=True)
    runner.add_source("well", Counting(50, live=True))
    runner.add_model("model", Work())
    runner.add_sink(keep)
    for name in ("dead", "well"):
        runner.add_look(Look(name, "model", [Way("keep", Policy("every", 60))], Policy("every", 60)))
    runner.start()
    assert through.wait(LONG)
    assert runner.snapshot()[BranchName("well", "model")].inspected == 50
    assert not runner.close(drain=0.5, grace=0.2) and runner.hanging() == ["source dead"]
    never.set()


def test_frames_of_several_sources_share_a_run() -> None:
    both = threading.Barrier(2)
    runs: list[list[int]] = []

    class Batch(Work):
        batch = 2

        def __call__(self, frame: Frame) -> None:
            runs.append([frame.sequence])

        def many(self, frames: list[Frame]) -> None:
            runs.append([frame.sequence for frame in frames])

    runner = Runner()
    for name in ("one", "two"):
        runner.add_source(name, Counting(5, gate=lambda k: both.wait(LONG) and None))
    runner.add_model("model", Batch(), patience_ns=60_000_000_000)
    for name in ("one", "two"):
        runner.add_look(Look(name, "model"))
    runner.start()
    assert runner.join(LONG)
    assert sorted(number for run in runs for number in run) == sorted([*range(5)] * 2)
    assert max(map(len, runs)) == 2


def test_a_batch_that_fails_costs_only_the_bad_frame() -> None:
    class Batch(Work):
        batch = 4

        def __call__(self, frame: Frame) -> None:
            if frame.sequence == 1:
                raise ValueError("bad")

        def many(self, frames: list[Frame]) -> None:
            for frame in frames:
                self(frame)

    runner = Runner()
    runner.add_source("line", Counting(4))
    runner.add_model("model", Batch(), patience_ns=10_000_000_000)
    runner.add_look(Look("line", "model", policy=Policy("every", 9)))
    runner.start()
    assert runner.join(LONG)
    counts = runner.snapshot()[BranchName("line", "model")]
    assert (counts.inspected, counts.failed) == (3, 1)
