"""Queues and threads between open elements: who hands frames to whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from lineside.pipelines.counters import Counters
from lineside.pipelines.crew import Batched, Crew
from lineside.pipelines.drain import Drain
from lineside.pipelines.elements import FAULTS, Sink, Source, StreamInfo, Transform, reason
from lineside.pipelines.events import Bus
from lineside.pipelines.fits import Fits
from lineside.pipelines.flow import Flow, Terms
from lineside.pipelines.inlet import Inlet
from lineside.pipelines.line import Line, Passage
from lineside.pipelines.looks import BranchName, Feed, Look, Way
from lineside.pipelines.streams import inspection_policy, usual_policy

__all__ = ["ModelPart", "SinkPart", "SourcePart", "Wiring", "closed"]


@dataclass
class SourcePart:
    """A source in its place.

    Attributes:
        source: The source.
        limit: Stop after so many frames.
        rename: Its frames go by its name in the graph.
        stream: What it said about itself, once it is open.
        line: Its thread, once it is wired.
    """

    source: Source
    limit: int | None
    rename: bool
    stream: StreamInfo | None = None
    line: Line | None = None


@dataclass
class ModelPart:
    """A model in its place.

    Attributes:
        transform: The model.
        inlet: Where its lanes take frames.
        patience_ns: How long a run waits for more frames where the model takes several.
        crew: Its lanes, once it is wired.
    """

    transform: Transform
    inlet: Inlet
    patience_ns: int
    crew: Crew | None = None

    @property
    def at_once(self) -> int:
        """Frames that it works on at once, in all lanes."""
        batch = self.transform.batch if isinstance(self.transform, Batched) else 1
        return max(1, self.transform.lanes) * max(1, batch)


@dataclass
class SinkPart:
    """A sink in its place.

    Attributes:
        sink: The sink.
        inlet: Where its thread takes frames.
        drain: Its thread, once it is wired.
        members: Who hands frames to it: the stream, where that is counted, and whether more may come.
    """

    sink: Sink
    inlet: Inlet
    drain: Drain | None = None
    members: list[tuple[StreamInfo, Counters, Callable[[], bool]]] = field(default_factory=list)

    def missing(self) -> int:
        """Frames that it should have and has not. Those that the queue of a live source drops are no fault."""
        total = 0
        for stream, counters, working in self.members:
            counts = counters.snapshot().sinks[self.sink.name]
            # Given up before its time: what the lanes have in hand will be missing.
            total += counts.failed if stream.live else max(int(working()), counts.given - counts.written)
        return total


class Wiring:
    """Puts queues and threads between the open elements of a graph, sinks first, so that they wait when frames come.

    Args:
        sources: Sources by name, open.
        models: Models by name.
        sinks: Sinks by name.
        looks: Which model looks at which source.
        feeds: Which source goes to sinks without a model.
        lock: Lock of all counts.
        bus: Where events go.
        now: Monotonic clock in ns.

    Attributes:
        flows: Every look at work.
        passages: Every way to sinks without a model, by source.
        threads: All threads, not started.
    """

    def __init__(
        self,
        sources: Mapping[str, SourcePart],
        models: Mapping[str, ModelPart],
        sinks: Mapping[str, SinkPart],
        looks: Sequence[Look],
        feeds: Sequence[Feed],
        *,
        lock: threading.Lock,
        bus: Bus,
        now: Callable[[], int],
    ) -> None:
        self._sources, self._models, self._sinks, self._looks = sources, models, sinks, looks
        self._lock, self._bus, self._now = lock, bus, now
        for name, model in models.items():
            model.crew = Crew(
                name, model.transform, model.inlet, patience_ns=model.patience_ns, ended=partial(self._ended, name)
            )
        for sink in sinks.values():
            sink.drain = Drain(sink.sink, sink.inlet, bus, sink.missing)
        self.passages = {feed.source: self._passage(feed) for feed in feeds}
        self.flows = {BranchName(look.source, look.model): self._flow(look) for look in looks}
        for name, source in sources.items():
            flows = [flow for branch, flow in self.flows.items() if branch.source == name]
            source.line = Line(
                source.source, self._stream(name), flows, self.passages.get(name), bus,
                limit=source.limit, rename=source.rename, ended=partial(closed, name, source.source.close, bus),
                saw=Fits(name, self._stream(name), self._chains(name, feeds), bus).saw,
            )  # fmt: skip
        self.threads = [
            *(sink.drain.thread for sink in sinks.values() if sink.drain),
            *(thread for model in models.values() if model.crew for thread in model.crew.threads),
            *(source.line.thread for source in sources.values() if source.line),
        ]

    def _chains(self, source: str, feeds: Sequence[Feed]) -> list[list[Transform]]:
        """The transforms on every way of a source's frames."""
        looks = [look for look in self._looks if look.source == source]
        through = [[*it.before, *it.after, *chain] for it in looks for chain in [way.chain for way in it.ways] or [()]]
        return [*through, *(list(way.chain) for feed in feeds if feed.source == source for way in feed.ways)]

    def _stream(self, source: str) -> StreamInfo:
        stream = self._sources[source].stream
        assert stream is not None, "sources are open before they are wired"
        return stream

    def _flow(self, look: Look) -> Flow:
        stream, model = self._stream(look.source), self._models[look.model]
        policy = look.policy or inspection_policy(stream, model.at_once)
        terms = Terms(policy, not stream.live, look.deadline_ns, look.late, look.priority)
        flow = Flow(
            look.source, model.inlet, terms, sinks=[way.sink for way in look.ways], lanes=model.at_once,
            after=look.after, lock=self._lock, bus=self._bus, now=self._now, listener=look.listener, model=look.model,
        )  # fmt: skip
        crew = model.crew
        assert crew is not None, "crews are made before flows"
        crew.join(flow, look.before)
        for way in look.ways:
            self._connect(way, flow, stream, flow.counters, lambda: crew.working)
        return flow

    def _passage(self, feed: Feed) -> Passage:
        stream = self._stream(feed.source)
        passage = Passage(
            feed.source, [way.sink for way in feed.ways], patient=not stream.live, lock=self._lock, bus=self._bus
        )
        for way in feed.ways:
            self._connect(way, passage, stream, passage.counters, lambda: False)
        return passage

    def _connect(
        self, way: Way, giver: Flow | Passage, stream: StreamInfo, counters: Counters, working: Callable[[], bool]
    ) -> None:
        """Puts a queue between a place that hands frames out and a sink."""
        part = self._sinks[way.sink]
        assert part.drain is not None, "drains are made before ways"
        policy = way.policy or usual_policy(stream)
        link = giver.outlets.join(way.sink, part.inlet, policy, takes_failed=part.sink.takes_failed)
        part.drain.join(link, giver, way.chain)
        part.members.append((stream, counters, working))

    def _ended(self, model: str) -> None:
        """The last lane of a model is through."""
        looks = [look for look in self._looks if look.model == model]
        for transform in {id(it): it for look in looks for it in (*look.before, *look.after)}.values():
            closed(model, transform.close, self._bus)
        closed(model, self._models[model].transform.close, self._bus)


def closed(name: str, close: Callable[[], None], bus: Bus) -> None:
    """Closes an element; what goes wrong with it is an event, and keeps nothing else from being closed.

    Args:
        name: Name of the element.
        close: Closes it.
        bus: Where the event goes.
    """
    try:
        close()
    except FAULTS as error:
        bus.emit("error", name, "close failed", f"{name}: {reason(error)}")
