"""Counts of whole stations add up: a thousand random graphs in virtual time, with random speeds and faults."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.simulated_station import SimLook, SimModel, SimSink, SimSource, SimulatedStation
from lineside.pipelines.link import Policy
from lineside.pipelines.looks import BranchName

policies = st.one_of(
    st.just(Policy("latest")), st.builds(Policy, st.sampled_from(["every", "drop-oldest"]), st.integers(1, 5))
)


@st.composite
def stations(draw: st.DrawFn) -> tuple[SimulatedStation, dict[str, SimSource], list[SimLook], dict[str, SimSink]]:
    """A random station."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sources = {}
    for name in "abcd"[: draw(st.integers(1, 4))]:
        parts = int(rng.integers(0, 14))
        arrivals = np.cumsum(rng.choice([0, 1, 10, 40], parts)).tolist()
        damaged = frozenset(np.flatnonzero(rng.random(parts) < 0.1).tolist())
        missed = {int(k): int(rng.integers(1, 4)) for k in np.flatnonzero(rng.random(parts) < 0.1)}
        sources[name] = SimSource(arrivals, draw(st.booleans()), damaged, missed)
    models = {}
    for name in "mn"[: draw(st.integers(1, 2))]:
        times, wrong = rng.choice([0, 1, 5, 30, 200], 32).tolist(), (rng.random(32) < 0.1).tolist()
        models[name] = SimModel(
            draw(st.integers(1, 3)), times.__getitem__, draw(st.integers(1, 3)),
            draw(st.sampled_from(["turns", "priority"])), wrong.__getitem__,
        )  # fmt: skip
    sinks = {
        name: SimSink(draw(policies), int(rng.choice([0, 3, 50, 400])), draw(st.booleans()), lambda k: k % 5 == 3)
        for name in "xyz"[: draw(st.integers(0, 3))]
    }
    looks = [
        SimLook(
            source, model, draw(policies), tuple(sink for sink in sinks if rng.random() < 0.7),
            draw(st.sampled_from([None, 5, 60])), draw(st.sampled_from(["keep", "mark", "drop"])), int(rng.integers(3)),
        )
        for source in sources
        for model in models
        if model == "m" or rng.random() < 0.5
    ]  # fmt: skip
    return SimulatedStation(sources, models, sinks, looks), sources, looks, sinks


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=stations(), until=st.integers(0, 300), plug=st.sampled_from([False, False, True]))
def test_every_part_of_every_source_is_accounted_for_once(made, until, plug) -> None:
    station, sources, looks, sinks = made
    station.run(until=until)
    if plug:
        station.abandon()
    station.run()

    ends = station.snapshot()
    for look in looks:
        name = BranchName(look.source, look.model)
        end, ended, source = ends[name], station.ended[name], sources[look.source]
        missed = sum(source.missed.values())
        assert end.balanced and end.in_flight == 0 and end.entered == len(source.arrivals) + missed
        truth = Counter(frame.outcome for frame in ended)
        assert len(ended) == len({frame.sequence for frame in ended}) == len(source.arrivals)
        assert truth["inspected"] == end.inspected and truth["late"] == end.late and truth["failed"] == end.failed
        assert truth["dropped"] == sum(end.dropped.values())
        assert truth["never inspected"] + missed == end.never_inspected
        assert truth["incomplete"] == end.incomplete == len(source.damaged)
        assert look.deadline_ns is not None or end.late == 0
        for sink in look.sinks:
            counts, written = end.sinks[sink], station.written[sink, name]
            assert counts.waiting == 0 and counts.written == len(written) and written == sorted(written)
            given = end.inspected + (0 if look.late == "drop" else end.late)
            assert counts.given >= given
            if not sinks[sink].takes_failed:
                assert counts.given == given
            if not source.live and sinks[sink].policy.kind == "every" and not plug:
                assert counts.dropped == 0, "a source that can wait loses nothing to a slow sink"
    assert station.freed == sum(len(it.arrivals) for name, it in sources.items()), (
        "every buffer went back to its source"
    )


def test_a_source_that_floods_takes_nothing_from_another() -> None:
    sources = {"flood": SimSource([0] * 200), "calm": SimSource(list(range(0, 1000, 50)))}
    looks = [SimLook(name, "m", Policy("every", 300), ()) for name in sources]
    station = SimulatedStation(sources, {"m": SimModel(1, lambda k: 10)}, {}, looks)
    station.run(until=1000)
    assert station.snapshot()[BranchName("calm", "m")].inspected >= 19


def test_the_urgent_one_comes_first() -> None:
    sources = {"slow": SimSource([0] * 20), "urgent": SimSource([5] * 5)}
    looks = [SimLook(name, "m", Policy("every", 30), (), priority=int(name == "urgent")) for name in sources]
    station = SimulatedStation(sources, {"m": SimModel(1, lambda k: 10, order="priority")}, {}, looks)
    station.run(until=60)
    now = station.snapshot()
    assert (now[BranchName("urgent", "m")].inspected, now[BranchName("slow", "m")].inspected) == (5, 1)


def test_a_slow_sink_of_one_source_keeps_no_lane_from_another() -> None:
    sources = {"file": SimSource([0] * 30, live=False), "camera": SimSource(list(range(0, 300, 10)))}
    sinks = {"slow": SimSink(Policy("every", 2), 10_000)}
    looks = [SimLook("file", "m", Policy("every", 4), ("slow",)), SimLook("camera", "m", Policy("latest"), ())]
    station = SimulatedStation(sources, {"m": SimModel(1, lambda k: 4)}, sinks, looks)
    station.run(until=310)
    assert station.snapshot()[BranchName("camera", "m")].inspected == 30


def test_a_result_after_its_deadline_is_dropped_where_that_was_asked_for() -> None:
    sources = {"line": SimSource([0, 0, 0, 0])}
    looks = [SimLook("line", "m", Policy("every", 9), ("x", "all"), deadline_ns=25, late="drop")]
    sinks = {"x": SimSink(Policy("every", 9), 0), "all": SimSink(Policy("every", 9), 0, takes_failed=True)}
    station = SimulatedStation(sources, {"m": SimModel(1, lambda k: 10)}, sinks, looks)
    station.run()
    name = BranchName("line", "m")
    end = station.snapshot()[name]
    assert (end.inspected, end.late, end.never_inspected) == (2, 1, 1), "the fourth was not even looked at"
    assert station.written["x", name] == [0, 1]
    assert station.written["all", name] == [0, 1, 2, 3], "told of what has no result"
