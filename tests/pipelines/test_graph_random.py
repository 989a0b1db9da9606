"""Random graphs with real threads: whatever fails, whenever they are ended, they end, add up, and give back every buffer once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from helpers.elements import Keep, Work
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.link import Policy
from lineside.pipelines.looks import Feed, Look, Way
from lineside.pipelines.runner import Runner
from lineside.runtime.errors import SourceError

LONG = 60.0
policies = st.one_of(
    st.none(),
    st.just(Policy("latest")),
    st.builds(Policy, st.sampled_from(["every", "drop-oldest"]), st.integers(1, 4)),
)


class Lent:
    """A source that lends buffers and counts those that come back."""

    def __init__(self, count: int, live: bool, seed: int, breaks: bool) -> None:
        self.count, self.live, self.breaks = count, live, breaks
        self.rng = np.random.default_rng(seed)
        self.lent = 0
        self.back: Counter[int] = Counter()
        self.parts = self.closed = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def open(self) -> StreamInfo:
        return StreamInfo("lent", "memory", live=self.live)

    def frames(self) -> Iterator[Frame]:
        for number in range(self.count):
            if self._stop.is_set():
                return
            kind = self.rng.integers(10)
            missed = int(self.rng.integers(3)) if kind == 1 else 0
            self.parts += 1 + missed
            if kind == 2:
                yield Frame(None, error="cannot be read")
                continue
            self.lent += 1
            frame = Frame(np.zeros((2, 2, 3), np.uint8), recycle=lambda pixels, n=number: self._take(n))
            frame.missed = missed
            frame.damage = "lost packets" if kind == 3 else None
            yield frame
        if self.breaks:
            raise SourceError("the cable was pulled")

    def _take(self, number: int) -> None:
        with self._lock:
            self.back[number] += 1

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self.closed += 1


def sometimes(one_in: int) -> object:
    def work(frame: Frame) -> None:
        if frame.sequence % one_in == one_in - 1:
            raise ValueError("a fault")
        if frame.sequence % 4 == 1:
            frame.show(np.ones((1, 1, 3), np.uint8))

    return work


class Batch(Work):
    """A model that takes several frames at once."""

    batch = 3

    def many(self, frames: list[Frame]) -> None:
        for frame in frames:
            self(frame)


@dataclass
class Made:
    runner: Runner
    sources: dict[str, Lent]
    works: list[Work]
    sinks: list[Keep]


@st.composite
def graphs(draw: st.DrawFn) -> Made:
    """A random graph, with faults in it."""
    bus = Bus()
    runner, works = Runner(bus), []
    sources = {
        name: Lent(draw(st.integers(0, 25)), draw(st.booleans()), draw(st.integers(0, 99)), draw(st.booleans()))
        for name in "ab"[: draw(st.integers(1, 2))]
    }
    for name, source in sources.items():
        runner.add_source(name, source, draw(st.sampled_from([None, None, 5])), rename=True)
    sinks = [
        Keep(name, takes_failed=draw(st.booleans()), gate=sometimes(draw(st.sampled_from([2, 9]))))  # type: ignore[arg-type]
        for name in "xy"
    ]
    for sink in sinks:
        runner.add_sink(sink)

    def made(kind: type[Work] = Work) -> Work:
        works.append(kind(sometimes(draw(st.sampled_from([3, 10]))), lanes=draw(st.integers(1, 3))))  # type: ignore[arg-type]
        return works[-1]

    def ways() -> list[Way]:
        return [
            Way(sink.name, draw(policies), [made()] if draw(st.booleans()) else [])
            for sink in sinks
            if draw(st.booleans())
        ]

    models = "mn"[: draw(st.integers(1, 2))]
    for model in models:
        runner.add_model(
            model, made(draw(st.sampled_from([Work, Batch]))), order=draw(st.sampled_from(["turns", "priority"])),
            patience_ns=draw(st.sampled_from([0, 1_000_000])),
        )  # fmt: skip
    fails = draw(st.booleans())

    def listen(frame: Frame) -> None:
        if fails and frame.sequence == 2:
            raise RuntimeError("who listens fails")

    for name in sources:
        for model in models:
            runner.add_look(
                Look(
                    name, model, ways(), draw(policies), [made()] if draw(st.booleans()) else [],
                    [made()] if draw(st.booleans()) else [], draw(st.sampled_from([None, 1, 10**12])),
                    draw(st.sampled_from(["keep", "mark", "drop"])), draw(st.integers(0, 1)), listen,
                )
            )  # fmt: skip
        if draw(st.booleans()) and (found := ways()):
            runner.add_feed(Feed(name, found))
    return Made(runner, sources, works, sinks)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.reuse, Phase.generate],  # to make a graph smaller that hangs would take hours
)
@given(graphs(), st.sampled_from(["", "", "stop", "abandon", "before"]))
def test_a_random_graph_ends_adds_up_and_gives_every_buffer_back_once(made: Made, end: str) -> None:
    runner = made.runner
    if end == "before":
        runner.stop()
    runner.start()
    if end == "stop":
        runner.stop()
    if end == "abandon":
        runner.abandon()
    assert all(counts.balanced for counts in runner.snapshot().values())
    assert runner.join(LONG), runner.hanging()
    for branch, counts in runner.snapshot().items():
        assert counts.balanced and counts.in_flight == 0
        limited = runner.stream_of(branch.source).frames is not None
        parts = made.sources[branch.source].parts
        assert counts.entered == parts or (limited and counts.entered <= parts)
        assert all(sink.waiting == 0 for sink in counts.sinks.values())
    for passage in runner.passages.values():
        assert all(it.waiting == 0 for it in passage.counters.snapshot().sinks.values())
    for source in made.sources.values():
        assert source.closed == 1 and len(source.back) == source.lent and set(source.back.values()) <= {1}
    assert all(work.opened == work.closed == 1 for work in made.works)
    assert all(sink.closed == 1 for sink in made.sinks)
