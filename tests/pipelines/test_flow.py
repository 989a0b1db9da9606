"""Counts that add up, for any graph, at any moment: virtual time, random speeds and faults."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.simulator import PIXELS, Simulator
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.flow import Flow, Terms
from lineside.pipelines.frame import Frame
from lineside.pipelines.inlet import Inlet
from lineside.pipelines.link import Policy

policies = st.one_of(
    st.just(Policy("latest")),
    st.builds(Policy, st.sampled_from(["every", "drop-oldest"]), st.integers(1, 6)),
)
speeds = st.sampled_from([0, 1, 5, 9, 10, 11, 30, 200])


def check(simulator: Simulator) -> None:
    """Holds a snapshot against where the frames really are."""
    flow = simulator.flow
    now = flow.counters.snapshot()
    assert now.balanced
    waiting_for_turn = len(flow._ready)
    assert now.in_flight == len(flow.queue) + simulator.busy + waiting_for_turn
    for name, sink in now.sinks.items():
        assert sink.waiting == len(flow.outlets.links[name]) + simulator.writing[name]


@settings(max_examples=400)
@given(
    seed=st.integers(0, 2**32 - 1),
    policy=policies,
    lanes=st.integers(1, 4),
    deadline=st.one_of(st.none(), st.integers(1, 100)),
    sinks=st.dictionaries(st.sampled_from("abc"), st.tuples(policies, st.booleans(), speeds), max_size=3),
    live=st.booleans(),
    service=speeds,
    fault=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_every_frame_is_accounted_for_once(seed, policy, lanes, deadline, sinks, live, service, fault) -> None:
    rng = np.random.default_rng(seed)
    parts = int(rng.integers(0, 60))
    gaps = rng.choice([0, 1, 10, 40], parts)
    serving = rng.choice([0, 1, service, 10 * service], parts).tolist()
    failing = (rng.random(parts) < fault).tolist()
    simulator = Simulator(
        np.cumsum(gaps).tolist(),
        serving.__getitem__,
        policy=policy,
        lanes=lanes,
        deadline_ns=deadline,
        sinks={name: (how, failed, lambda k, s=speed: s) for name, (how, failed, speed) in sinks.items()},
        fails=failing.__getitem__,
        broken=lambda name, k: k % 7 == 3,
        live=live,
        watch=check,
    )
    simulator.run(until=int(rng.integers(0, 400)))
    if rng.random() < 0.3:  # Somebody pulls the plug in the middle.
        simulator.flow.abandon()
        check(simulator)
    simulator.run()

    end = simulator.flow.counters.snapshot()
    assert end.balanced and end.in_flight == 0 and end.entered == parts
    truth = Counter(frame.outcome for frame in simulator.ended)
    assert len(simulator.ended) == len({frame.sequence for frame in simulator.ended}) == parts
    assert truth["inspected"] == end.inspected and truth["late"] == end.late and truth["failed"] == end.failed
    assert truth["dropped"] == sum(end.dropped.values()) and truth["never inspected"] == end.never_inspected
    assert deadline is not None or end.late == 0
    for name, (_, takes_failed, _) in sinks.items():
        counts = end.sinks[name]
        assert counts.waiting == 0
        assert counts.given == end.inspected + end.late + (end.failed if takes_failed else 0)
        assert counts.written == len(simulator.written[name])
        assert simulator.written[name] == sorted(simulator.written[name])
    assert all(frame.pixels is None for frame in simulator.ended), "buffers went back to the source"


def test_results_leave_in_the_order_of_capture() -> None:
    """Part 0 takes longest; its successors are through first and wait for it."""
    simulator = Simulator(
        [0, 0, 0, 0],
        [100, 1, 2, 3].__getitem__,
        policy=Policy("every", 8),
        lanes=4,
        sinks={"file": (Policy("every", 8), False, lambda k: 0)},
    )
    simulator.run(until=50)
    assert simulator.flow.counters.snapshot().inspected == 0
    simulator.run()
    assert simulator.written["file"] == [0, 1, 2, 3]


def test_a_slow_frame_bounds_those_that_run_ahead() -> None:
    flow = Simulator([0] * 50, lambda k: 10_000 if k == 0 else 1, policy=Policy("every", 50), lanes=2).run(until=5000)
    assert flow.counters.snapshot().in_flight == 50
    assert len(flow._ready) < 10


def test_what_never_came_counts_as_never_inspected() -> None:
    flow = Flow("line", Inlet(), Terms(Policy("latest")))
    flow.counters.unseen(3)
    now = flow.counters.snapshot()
    assert (now.entered, now.never_inspected, now.balanced) == (3, 3, True)


def test_a_frame_ends_only_once() -> None:
    flow = Flow("line", Inlet(), Terms(Policy("every", 2)))
    frame = Frame(PIXELS)
    flow.arrive(frame, wait=False)
    flow.counters.ended(frame, "inspected")
    with pytest.raises(RuntimeError, match="ended twice"):
        flow.counters.ended(frame, "late")
    now = flow.counters.snapshot()
    assert now.balanced and (now.inspected, now.late) == (1, 0)


def test_overflow_of_every_is_counted_and_said_once() -> None:
    heard: list[Event] = []
    bus = Bus()
    bus.listen(heard.append)
    flow = Flow("line", Inlet(), Terms(Policy("every", 2)), bus=bus)
    taken = [flow.arrive(Frame(PIXELS), wait=False) for _ in range(5)]
    assert taken == [True, True, False, False, False]
    assert flow.counters.snapshot().dropped == {"inspect": 3}
    assert [event.kind for event in heard] == ["overflow"]
