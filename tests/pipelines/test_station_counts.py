"""Counts of whole stations add up: a thousand random graphs in virtual time, with random speeds and faults."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.simulated_parts import Fails, SimLook, SimModel, SimSink, SimSource, never
from helpers.simulated_station import SimulatedStation
from lineside.pipelines.frame import DECIDED, TAKEN
from lineside.pipelines.link import Policy
from lineside.pipelines.looks import BranchName

policies = st.one_of(
    st.just(Policy("latest")), st.builds(Policy, st.sampled_from(["every", "drop-oldest"]), st.integers(1, 5))
)


@dataclass(frozen=True)
class Made:
    """A station, and what it was made of."""

    station: SimulatedStation
    sources: dict[str, SimSource]
    looks: list[SimLook]
    sinks: dict[str, SimSink]
    feeds: dict[str, tuple[str, ...]]


@st.composite
def sources_of(draw: st.DrawFn, rng: np.random.Generator) -> SimSource:
    """A random source: a file, a camera, one that something triggers; perhaps with outages."""
    parts = int(rng.integers(0, 14))
    arrivals = np.cumsum(rng.choice([0, 1, 10, 40], parts)).tolist()
    damaged = frozenset(np.flatnonzero(rng.random(parts) < 0.1).tolist())
    missed = {int(k): int(rng.integers(1, 4)) for k in np.flatnonzero(rng.random(parts) < 0.1)}
    kind = draw(st.sampled_from(["file", "camera", "camera", "triggered"]))
    begins = np.cumsum(rng.integers(1, 80, 4)).tolist() if kind != "file" and draw(st.booleans()) else []
    outages = list(zip(begins[::2], begins[1::2], strict=True))
    ends = draw(st.sampled_from([None, None, 60])) if kind != "file" else None
    if kind != "triggered":
        return SimSource(
            arrivals, kind == "camera", damaged, missed, outages=outages, tells=draw(st.booleans()), ends=ends
        )
    answers = {k: None if rng.random() < 0.15 else int(rng.choice([0, 3, 25])) for k in range(parts)}
    return SimSource(arrivals, damaged=damaged, answers=answers, outages=outages, tells=draw(st.booleans()), ends=ends)


def some_of(rng: np.random.Generator, share: float, parts: int = 32) -> Fails:
    """Fails on that share of parts."""
    wrong = (rng.random(parts) < share).tolist()
    return wrong.__getitem__


@st.composite
def stations(draw: st.DrawFn) -> Made:
    """A random station."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sources = {name: draw(sources_of(rng)) for name in "abcd"[: draw(st.integers(1, 4))]}
    models = {}
    for name in "mn"[: draw(st.integers(1, 2))]:
        times = rng.choice([0, 1, 5, 30, 200], 32).tolist()
        models[name] = SimModel(
            draw(st.integers(1, 3)), times.__getitem__, draw(st.integers(1, 3)),
            draw(st.sampled_from(["turns", "priority"])), some_of(rng, 0.1), draw(st.sampled_from([0, 0, 7, 100])),
        )  # fmt: skip
    sinks = {
        name: SimSink(draw(policies), int(rng.choice([0, 3, 50, 400])), draw(st.booleans()), lambda k: k % 5 == 3)
        for name in "xyz"[: draw(st.integers(0, 3))]
    }

    def some_sinks() -> tuple[str, ...]:
        return tuple(sink for sink in sinks if rng.random() < 0.7)

    faults = st.sampled_from([never, never, some_of(rng, 0.2)])
    looks = [
        SimLook(
            source, model, draw(policies), some_sinks(), draw(st.sampled_from([None, 5, 60])),
            draw(st.sampled_from(["keep", "mark", "drop"])), int(rng.integers(3)), draw(faults), draw(faults),
        )
        for source in sources
        for model in models
        if rng.random() < (0.9 if model == "m" else 0.5)
    ]  # fmt: skip
    feeds = {name: found for name in sources if rng.random() < 0.4 and (found := some_sinks())}
    return Made(SimulatedStation(sources, models, sinks, looks, feeds), sources, looks, sinks, feeds)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=stations(), until=st.integers(0, 300), plug=st.sampled_from([False, False, True]))
def test_every_part_of_every_source_is_accounted_for_once(made: Made, until: int, plug: bool) -> None:
    """The counting law, at each moment of a random station, and what became of everything at its end.

    Random are sources (files, cameras that take pictures by themselves or are triggered, with outages, lost pictures and an
    early end), models with lanes, runs of several frames and the wait for them, faults of the model and of transforms before
    and behind it, deadlines, shared sinks that are slow or fail, ways to sinks without a model, and the moment at which
    somebody pulls the plug. Outside remain: threads and their waits, elements that hang, transforms of one sink alone
    (`test_graph_random` has those), and the watch over a live source (`tests/pipelines/watch`), of which only the calls are
    played that it makes when a camera breaks.
    """
    station = made.station
    station.run(until=until)
    if plug:
        station.abandon()
    station.run()

    assert station.over(), "every sink hears that nothing more comes"
    ends = station.snapshot()
    for look in made.looks:
        name = BranchName(look.source, look.model)
        end, ended, source = ends[name], station.ended[name], made.sources[look.source]
        came, parts = station.lines.came[look.source], station.lines.parts[look.source]
        assert end.balanced and end.in_flight == 0 and end.entered == parts >= len(came)
        truth = Counter(frame.outcome for frame in ended)
        assert len(ended) == len({frame.sequence for frame in ended}) == len(came)
        assert truth["inspected"] == end.inspected and truth["late"] == end.late and truth["failed"] == end.failed
        assert truth["dropped"] == sum(end.dropped.values())
        assert truth["never inspected"] + parts - len(came) == end.never_inspected
        assert truth["incomplete"] == end.incomplete == came.count(False)
        assert look.deadline_ns is not None or end.late == 0
        for sink in look.sinks:
            counts, written = end.sinks[sink], station.written[sink, name]
            assert counts.waiting == 0 and counts.written == len(written) and written == sorted(written)
            given = end.inspected + (0 if look.late == "drop" else end.late)
            assert counts.given >= given
            if not made.sinks[sink].takes_failed:
                assert counts.given == given
            if not source.live and made.sinks[sink].policy.kind == "every" and not plug:
                assert counts.dropped == 0, "a source that can wait loses nothing to a slow sink"
    for name, joined in made.feeds.items():
        for sink in joined:
            counts, came = ends[BranchName(name, "")].sinks[sink], station.lines.came[name]
            assert counts.given == (len(came) if made.sinks[sink].takes_failed else came.count(True))
            assert counts.waiting == 0 and counts.written == len(station.written[sink, BranchName(name, "")])
            if not made.sources[name].live and made.sinks[sink].policy.kind == "every" and not plug:
                assert counts.dropped == 0
    assert station.lines.freed == sum(map(len, station.lines.came.values())), "every buffer went back to its source"


def test_each_trigger_of_a_camera_that_breaks_is_a_picture_or_a_part_that_nobody_saw() -> None:
    """Ten parts: 3 and 4 while the cable is out, 2 is asked for and lost with it, 7 is never answered, 9 comes too late."""
    answers: dict[int, int | None] = {**dict.fromkeys(range(10), 5), 2: 50, 7: None}
    source = SimSource(
        [100 * k for k in range(10)], damaged=frozenset([5]), answers=answers, outages=[(230, 450)], ends=850
    )
    look = SimLook("line", "m", Policy("every", 9), ("x",), before=lambda k: k == 6)
    sinks = {"x": SimSink(Policy("every", 9), 0), "all": SimSink(Policy("every", 9), 0, takes_failed=True)}
    station = SimulatedStation(
        {"line": source}, {"m": SimModel(1, lambda k: 10)}, sinks, [look], {"line": ("x", "all")}
    )
    station.run()
    end = station.snapshot()[BranchName("line", "m")]
    assert (end.entered, end.inspected, end.incomplete, end.failed, end.never_inspected) == (10, 3, 1, 1, 5)
    feed = station.snapshot()[BranchName("line", "")].sinks
    assert (feed["x"].written, feed["all"].written) == (4, 5), "without a model, only pictures count"
    assert station.over()


def test_a_run_waits_for_frames_and_no_longer_than_its_patience() -> None:
    sources = {"a": SimSource([0, 100]), "b": SimSource([5, 200])}
    looks = [SimLook(name, "m", Policy("every", 9), ()) for name in sources]
    station = SimulatedStation(sources, {"m": SimModel(1, lambda k: 10, batch=2, patience=7)}, {}, looks)
    station.run()
    ends = {name: [frame.clock[TAKEN] for frame in ended] for name, ended in station.ended.items()}
    done = sorted(frame.clock[DECIDED] for ended in station.ended.values() for frame in ended)
    assert done == [15, 15, 117, 210], "two together, one after its patience, and one that no other can join"
    assert sorted(it for them in ends.values() for it in them) == [0, 5, 100, 200]


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
