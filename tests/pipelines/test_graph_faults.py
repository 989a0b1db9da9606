"""What is wrong in one element, or in who listens, stays there: the graph goes on, counts, and ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from helpers.elements import Counting, Keep, Work
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.flow import Flow, Terms
from lineside.pipelines.frame import Frame
from lineside.pipelines.graph import Graph
from lineside.pipelines.inlet import Inlet
from lineside.pipelines.link import Policy
from lineside.pipelines.looks import BranchName, Feed, Look, Way
from lineside.pipelines.runner import Runner
from lineside.runtime.errors import BadOption, SinkError

LONG = 60.0


def heard_on(bus: Bus) -> list[Event]:
    heard: list[Event] = []
    bus.listen(heard.append)
    return heard


@pytest.mark.parametrize("sinks", [True, False])
def test_a_listener_that_fails_costs_no_frame(sinks: bool) -> None:
    told: list[int] = []

    def listen(frame: Frame) -> None:
        told.append(frame.sequence)
        if frame.sequence == 3:
            raise KeyError("a class without a name")

    bus, keep = Bus(), Keep()
    heard = heard_on(bus)
    graph = Graph(Counting(20), Work(), [keep] if sinks else [], bus=bus, listener=listen)
    graph.start()
    assert graph.join(LONG)
    assert graph.flow.counters.snapshot().inspected == 20 and told == [0, 1, 2, 3]
    assert keep.frames == (list(range(20)) if sinks else [])
    assert [event.level for event in heard if event.kind == "listener failed"] == ["error"]


def leave(frame: Frame) -> None:
    if frame.sequence == 2:
        raise SystemExit(0)


def test_elements_that_call_exit_end_nothing_but_their_frame() -> None:
    kept = [Keep("a", gate=leave), Keep("b")]
    graph = Graph(Counting(5), Work(), kept)
    graph.start()
    assert graph.join(LONG)
    assert kept[0].frames == [0, 1, 3, 4] and kept[1].frames == list(range(5)) and kept[0].closed == 1
    graph = Graph(Counting(5), Work(leave), [Keep()])
    graph.start()
    assert graph.join(LONG)
    counts = graph.flow.counters.snapshot()
    assert (counts.inspected, counts.failed, counts.in_flight) == (4, 1, 0)


def test_a_source_that_calls_exit_has_failed() -> None:
    bus = Bus()
    heard = heard_on(bus)
    graph = Graph(Counting(9, gate=lambda k: exit() if k == 4 else None), Work(), [Keep()], bus=bus)
    graph.start()
    assert graph.join(LONG) and graph.flow.counters.snapshot().inspected == 4
    assert "source failed" in [event.kind for event in heard]


def test_what_cannot_be_closed_hides_neither_the_reason_nor_the_rest() -> None:
    bus, source, work, first = Bus(), Counting(5), Work(), Keep("first")
    heard = heard_on(bus)

    def stuck(missing: int = 0) -> None:
        raise OSError("the disk is gone")

    first.close = stuck  # type: ignore[method-assign]
    with pytest.raises(SinkError, match="cannot be written to"):
        Graph(source, work, [first, Keep("second", refuses=True)], bus=bus).start()
    assert (source.closed, work.closed) == (1, 1)
    assert [event.element for event in heard if event.kind == "close failed"] == ["first"]


def test_a_stop_before_the_start_is_not_forgotten() -> None:
    source, work, keep = Counting(10**9), Work(), Keep()
    graph = Graph(source, work, [keep])
    graph.stop()
    graph.start()
    assert graph.join(LONG)
    assert source.given == 0 and (source.closed, work.closed, keep.closed) == (1, 1, 1)


def test_a_stop_while_elements_are_opened_is_not_forgotten() -> None:
    opening, go = threading.Event(), threading.Event()
    source, keep = Counting(10**9), Keep()

    def wait() -> None:
        opening.set()
        assert go.wait(LONG)

    work = Work()
    work.open = wait  # type: ignore[method-assign]
    graph = Graph(source, work, [keep])
    starting = threading.Thread(target=graph.start)
    starting.start()
    assert opening.wait(LONG)
    graph.stop()
    go.set()
    starting.join(LONG)
    assert graph.join(LONG) and source.given == 0 and keep.closed == 1


@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_a_source_that_cannot_be_asked_to_end_keeps_no_other_from_it(how: str) -> None:
    never, heard = threading.Event(), []

    class Deaf(Counting):
        def stop(self) -> None:
            if how == "hangs":
                never.wait()
            raise RuntimeError("no")

    through = threading.Event()
    runner = Runner()
    runner.bus.listen(heard.append)
    runner.add_source("deaf", Deaf(10**9, live=True, gate=lambda k: never.wait() and None), rename=True)
    runner.add_source("well", Counting(10**9, live=True, gate=lambda k: through.set() if k == 9 else None))
    runner.add_model("model", Work())
    for name in ("deaf", "well"):
        runner.add_look(Look(name, "model"))
    runner.start()
    assert through.wait(LONG)
    assert not runner.close(drain=1.0, grace=0.2)
    assert runner.hanging()[0] == "source deaf" and runner.states()["well"] == "ENDED"
    never.set()
    assert runner.join(LONG)
    if how == "fails":
        assert "stop failed" in [event.kind for event in heard]


def test_one_source_fills_a_batch_of_any_size() -> None:
    runs: list[int] = []

    class Batch(Work):
        batch = 12

        def many(self, frames: list[Frame]) -> None:
            runs.append(len(frames))

    runner = Runner()
    runner.add_source("line", Counting(24))
    runner.add_model("model", Batch(), patience_ns=60_000_000_000)
    runner.add_look(Look("line", "model"))
    runner.start()
    assert runner.join(LONG)
    assert runs == [12, 12]


def test_a_frame_without_a_beginning_is_not_late() -> None:
    class Own(Counting):
        def frames(self) -> Iterator[Frame]:
            for _ in range(3):
                yield Frame(np.zeros((2, 2, 3), np.uint8))

    graph = Graph(Own(3), Work(), [Keep()], deadline_ns=3_600_000_000_000)
    graph.run()
    assert graph.flow.counters.snapshot().inspected == 3 and graph.flow.clock.stats()["total"].count == 3


def test_names_that_are_taken_are_refused() -> None:
    runner = Runner()
    runner.add_source("line", Counting(1))
    runner.add_model("model", Work())
    runner.add_sink(Keep("a"))
    runner.add_look(Look("line", "model", [Way("a")]))
    runner.add_feed(Feed("line", [Way("a")]))
    for again in (
        lambda: runner.add_source("line", Counting(1)),
        lambda: runner.add_model("model", Work()),
        lambda: runner.add_sink(Keep("a")),
        lambda: runner.add_look(Look("line", "model")),
        lambda: runner.add_feed(Feed("line", [])),
        lambda: runner.add_look(Look("other", "model", [Way("a"), Way("a")])),
    ):
        with pytest.raises(BadOption, match="another name"):
            again()


def test_what_happens_with_every_frame_is_told_now_and_then() -> None:
    clock = [0.0]
    bus = Bus(lambda: clock[0])
    heard = heard_on(bus)
    for _ in range(50):
        bus.often("error", "top", "frame failed", "no", first=3)
    bus.often("error", "side", "frame failed", "no", first=3)
    assert [event.element for event in heard] == ["top"] * 3 + ["side"]
    clock[0] = 60.0
    bus.often("error", "top", "frame failed", "no", first=3)
    assert heard[-1].message == "no (47 more since the last message)"
    bus.often("error", "top", "frame failed", "no", first=3)
    assert len(heard) == 5
    clock[0] = 10_000.0
    for _ in range(9):
        bus.often("error", "top", "frame failed", "no", first=3)
    assert len(heard) == 8, "a pause earns them back, and no more than they were"


def test_a_fault_at_every_frame_fills_no_disk() -> None:
    def fail(frame: Frame) -> None:
        raise ValueError("bad")

    def every_other(frame: Frame) -> None:
        if frame.sequence % 2:
            raise OSError("no space")

    bus = Bus(lambda: 0.0)
    heard = heard_on(bus)
    graph = Graph(Counting(600), Work(fail), [Keep(takes_failed=True, gate=every_other)], bus=bus)
    graph.run()
    kinds = [event.kind for event in heard]
    assert kinds.count("frame failed") == 100
    assert kinds.count("sink failed") == kinds.count("sink works again") == 20
    counts = graph.flow.counters.snapshot()
    assert counts.failed == 600 and counts.sinks["keep"].failed == 300


def test_an_overflow_that_lasts_is_told_again_with_its_number() -> None:
    clock = [0.0]
    bus = Bus(lambda: clock[0])
    heard = heard_on(bus)
    flow = Flow("line", Inlet(), Terms(Policy("every", 1)), bus=bus)
    pixels = np.zeros((1, 1, 3), np.uint8)
    for clock[0] in range(0, 150, 10):
        flow.arrive(Frame(pixels), wait=False)
    assert flow.counters.snapshot().dropped == {"inspect": 14}
    assert [event.kind for event in heard] == ["overflow"] * 3 and "(5 more since" in heard[1].message


def test_counts_of_a_way_without_a_model_can_be_seen() -> None:
    def full(frame: Frame) -> None:
        raise OSError("no space")

    runner = Runner()
    runner.add_source("line", Counting(6))
    runner.add_sink(Keep("raw", gate=full))
    runner.add_feed(Feed("line", [Way("raw")]))
    runner.start()
    assert runner.join(LONG)
    assert runner.passages["line"].counters.snapshot().sinks["raw"].failed == 6
    assert runner.snapshot() == {} and BranchName("line", "model") not in runner.flows


def test_no_event_tells_a_secret() -> None:
    """Whatever a source of somebody's own, or a library below it, puts into its errors."""
    bus = Bus()
    heard = heard_on(bus)

    def lose(k: int) -> None:
        raise OSError("cannot open rtsp://ada:geheim@10.0.0.1/live")

    Graph(Counting(3, gate=lose), Work(), [Keep()], bus=bus).run()
    (failure,) = [event.message for event in heard if event.kind == "source failed"]
    assert "10.0.0.1" in failure and "geheim" not in failure


@pytest.mark.parametrize("field", ["outcome", "sequence", "clock"])
def test_an_element_that_meddles_with_a_frame_costs_nobody_a_thread(field: str) -> None:
    def meddle(frame: Frame) -> None:
        if frame.sequence == 3:
            setattr(frame, field, {"outcome": "failed", "sequence": 999, "clock": None}[field])

    bus, keep = Bus(), Keep()
    heard = heard_on(bus)
    runner = Runner(bus)
    runner.add_source("line", Counting(40, live=True))
    runner.add_source("other", Counting(40, live=True), rename=True)
    runner.add_model("model", Work(lambda frame: meddle(frame) if frame.source != "other" else None))
    runner.add_sink(keep)
    for name in ("line", "other"):
        runner.add_look(Look(name, "model", [Way("keep", Policy("every", 99))], Policy("every", 99)))
    runner.start()
    assert runner.join(5.0) or runner.close(drain=0.0, grace=LONG)
    counts = runner.snapshot()
    assert all(it.balanced for it in counts.values())
    assert counts[BranchName("other", "model")].inspected == 40
    assert counts[BranchName("line", "model")].in_flight >= 1
    assert "fault" in [event.kind for event in heard] and keep.closed == 1


def test_what_hangs_when_the_queues_are_given_up_does_not_hold_the_end_up() -> None:
    """A sink stands still, so that results wait for their turn; at the end it comes, and a transform behind them hangs."""
    never, inside, third = threading.Event(), threading.Event(), threading.Event()
    source = Counting(50, gate=lambda number: third.set() if number == 9 else None)
    stuck = Keep("stuck", gate=lambda frame: (inside.set(), never.wait()))  # type: ignore[arg-type, return-value]
    hangs = Work(lambda frame: never.wait() if frame.sequence == 2 else None)  # type: ignore[arg-type, return-value]
    runner, heard = Runner(bus := Bus()), heard_on(bus)
    runner.add_source("line", source, rename=True)
    runner.add_model("model", Work())
    runner.add_sink(stuck)
    runner.add_look(Look("line", "model", [Way("stuck", Policy("every", 1))], Policy("every", 4), after=[hangs]))
    runner.start()
    assert inside.wait(LONG) and third.wait(LONG)
    ended = threading.Thread(target=lambda: runner.close(drain=0.0, grace=0.2), daemon=True)
    ended.start()
    ended.join(LONG)
    assert not ended.is_alive(), "the end waits for what hangs"
    assert {"sink stuck", "stop queues of line"} <= set(runner.hanging())
    assert any(event.kind == "hung" and "stop queues of line" in event.message for event in heard)
    never.set()
    assert runner.join(LONG)
    assert all(counts.balanced and not counts.in_flight for counts in runner.snapshot().values())
