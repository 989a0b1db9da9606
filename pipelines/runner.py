"""The graph at work: sources, models that several of them share, and sinks, each in threads of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from lineside.pipelines.counters import Counters, Snapshot
from lineside.pipelines.crew import Crew
from lineside.pipelines.drain import Drain
from lineside.pipelines.elements import Sink, Source, SourceState, StreamInfo, Transform
from lineside.pipelines.events import Bus
from lineside.pipelines.flow import Flow, Terms
from lineside.pipelines.inlet import Inlet, Order
from lineside.pipelines.line import Line, Passage
from lineside.pipelines.looks import BranchName, Feed, Look, Way
from lineside.pipelines.streams import common, fitted, inspection_policy, limited, usual_policy

__all__ = ["Runner"]


@dataclass
class _Model:
    transform: Transform
    inlet: Inlet
    patience_ns: int
    crew: Crew | None = None


@dataclass
class _Source:
    source: Source
    limit: int | None
    rename: bool
    stream: StreamInfo | None = None
    line: Line | None = None


@dataclass
class _Sink:
    sink: Sink
    inlet: Inlet
    drain: Drain | None = None
    members: list[tuple[StreamInfo, Counters, Callable[[], bool]]] = field(default_factory=list)


class Runner:
    """Runs frames from sources through models into sinks.

    Elements are opened by `start` and closed when their last frame is through; `stop` asks for an early end, and `join`
    waits for it within a bound, also where an element hangs.

    Args:
        bus: Where events go.
        now: Monotonic clock in ns.
    """

    def __init__(self, bus: Bus | None = None, now: Callable[[], int] = time.monotonic_ns) -> None:
        self.bus = bus or Bus()
        self.flows: dict[BranchName, Flow] = {}
        """Every look, once started."""
        self._now = now
        self._lock = threading.Lock()
        self._sources: dict[str, _Source] = {}
        self._models: dict[str, _Model] = {}
        self._sinks: dict[str, _Sink] = {}
        self._looks: list[Look] = []
        self._feeds: list[Feed] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def add_source(self, name: str, source: Source, limit: int | None = None, *, rename: bool = False) -> None:
        """Adds a source; before the start.

        Args:
            name: Its name.
            source: The source.
            limit: Stop after so many frames.
            rename: Its frames and its stream go by that name, whatever the source calls itself.
        """
        self._sources[name] = _Source(source, limit, rename)

    def add_model(self, name: str, model: Transform, *, order: Order = "turns", patience_ns: int = 0) -> None:
        """Adds a model; before the start.

        Args:
            name: Its name.
            model: The model.
            order: Which source is served next.
            patience_ns: How long a run waits for more frames where the model takes several.
        """
        self._models[name] = _Model(model, Inlet(order, self._now), patience_ns)

    def add_sink(self, sink: Sink) -> None:
        """Adds a sink under its own name; before the start."""
        self._sinks[sink.name] = _Sink(sink, Inlet(now=self._now))

    def add_look(self, look: Look) -> None:
        """Lets a model look at a source; before the start."""
        self._looks.append(look)

    def add_feed(self, feed: Feed) -> None:
        """Hands a source's frames to sinks; before the start."""
        self._feeds.append(feed)

    def start(self) -> None:
        """Opens every element and starts to work.

        Raises:
            LinesideError: An element cannot be opened; those already open are closed again.
        """
        opened: list[Callable[[], None]] = []
        try:
            for name, source in self._sources.items():
                stream = source.source.open()
                opened.append(source.source.close)
                source.stream = limited(replace(stream, name=name) if source.rename else stream, source.limit, name)
            for transform in self._transforms():
                transform.open()
                opened.append(transform.close)
            reaching = self._reaching()
            for name, sink in self._sinks.items():
                sink.sink.open(common(reaching.get(name, [])))
                opened.append(partial(sink.sink.close, 1))  # What never began is not finished.
        except BaseException:
            for close in reversed(opened):
                close()
            raise
        self._build()
        for thread in self._threads:
            thread.start()
        for name in self._sources:
            self.bus.emit("info", name, "started", f"{self.stream_of(name).name} is open")

    def _transforms(self) -> list[Transform]:
        """Every transform once."""
        found = [model.transform for model in self._models.values()]
        for look in self._looks:
            found += [*look.before, *look.after]
        for _, way in self._ways():
            found += way.chain
        return list({id(transform): transform for transform in found}.values())

    def _reaching(self) -> dict[str, list[StreamInfo]]:
        """The streams that reach each sink, as the transforms on their ways leave them.

        Raises:
            StationError: A transform does not fit a stream.
        """
        found: dict[str, list[StreamInfo]] = {}
        for look in self._looks:
            stream = fitted(self.stream_of(look.source), [*look.before, *look.after], look.source)
            for way in look.ways:
                found.setdefault(way.sink, []).append(fitted(stream, way.chain, look.source))
        for feed in self._feeds:
            for way in feed.ways:
                stream = fitted(self.stream_of(feed.source), way.chain, feed.source)
                found.setdefault(way.sink, []).append(stream)
        return found

    def _ways(self) -> list[tuple[str, Way]]:
        """Every way to a sink, with the source that it begins at."""
        found = [(look.source, way) for look in self._looks for way in look.ways]
        return [*found, *((feed.source, way) for feed in self._feeds for way in feed.ways)]

    def stream_of(self, source: str) -> StreamInfo:
        """What a source said about itself, once started."""
        stream = self._sources[source].stream
        if stream is None:
            raise RuntimeError("the graph has not been started")
        return stream

    def _build(self) -> None:
        """Puts queues and threads between the open elements; sinks first, so that they wait when the first frame comes."""
        for name, model in self._models.items():
            model.crew = Crew(
                name, model.transform, model.inlet, patience_ns=model.patience_ns, ended=partial(self._ended, name)
            )
        for sink in self._sinks.values():
            sink.drain = Drain(sink.sink, sink.inlet, self.bus, partial(_missing, sink))
        passages = {feed.source: self._passage(feed) for feed in self._feeds}
        for look in self._looks:
            self.flows[BranchName(look.source, look.model)] = self._flow(look)
        for name, source in self._sources.items():
            flows = [flow for branch, flow in self.flows.items() if branch.source == name]
            source.line = Line(
                source.source, self.stream_of(name), flows, passages.get(name), self.bus,
                limit=source.limit, rename=source.rename, ended=partial(self._close, name, source.source.close),
            )  # fmt: skip
        self._threads = [
            *(sink.drain.thread for sink in self._sinks.values() if sink.drain),
            *(thread for model in self._models.values() if model.crew for thread in model.crew.threads),
            *(source.line.thread for source in self._sources.values() if source.line),
        ]

    def _flow(self, look: Look) -> Flow:
        stream, model = self.stream_of(look.source), self._models[look.model]
        lanes = max(1, model.transform.lanes)
        policy = look.policy or inspection_policy(stream, lanes)
        terms = Terms(policy, not stream.live, look.deadline_ns, look.late, look.priority)
        flow = Flow(
            look.source, model.inlet, terms, sinks=[way.sink for way in look.ways], lanes=lanes, after=look.after,
            lock=self._lock, bus=self.bus, now=self._now, listener=look.listener, model=look.model,
        )  # fmt: skip
        assert model.crew is not None, "crews are made before flows"
        model.crew.join(flow, look.before)
        crew = model.crew
        for way in look.ways:
            self._connect(way, flow, stream, flow.counters, lambda: crew.working)
        return flow

    def _passage(self, feed: Feed) -> Passage:
        stream = self.stream_of(feed.source)
        passage = Passage(
            feed.source, [way.sink for way in feed.ways], patient=not stream.live, lock=self._lock, bus=self.bus
        )
        for way in feed.ways:
            self._connect(way, passage, stream, passage.counters, lambda: False)
        return passage

    def _connect(
        self,
        way: Way,
        giver: Flow | Passage,
        stream: StreamInfo,
        counters: Counters,
        working: Callable[[], bool],
    ) -> None:
        """Puts a queue between a place that hands frames out and a sink."""
        sink = self._sinks[way.sink]
        assert sink.drain is not None, "drains are made before ways"
        link = giver.outlets.join(
            way.sink, sink.inlet, way.policy or usual_policy(stream), takes_failed=sink.sink.takes_failed
        )
        sink.drain.join(link, giver, way.chain)
        sink.members.append((stream, counters, working))

    def _ended(self, model: str) -> None:
        """The last lane of a model is through."""
        looks = [look for look in self._looks if look.model == model]
        for transform in {id(it): it for look in looks for it in (*look.before, *look.after)}.values():
            self._close(model, transform.close)
        self._close(model, self._models[model].transform.close)

    def _close(self, name: str, close: Callable[[], None]) -> None:
        try:
            close()
        except Exception as error:
            self.bus.emit("error", name, "close failed", f"{name}: {error}")

    def snapshot(self) -> dict[BranchName, Snapshot]:
        """The counts of every look, all of one moment."""
        return Counters.together({name: flow.counters for name, flow in self.flows.items()}, self._lock)

    def states(self) -> dict[str, SourceState]:
        """What each source is doing."""
        return {name: source.line.state if source.line else "NOT_STARTED" for name, source in self._sources.items()}

    def lines(self) -> dict[str, Line]:
        """The thread of each source, once started."""
        return {name: source.line for name, source in self._sources.items() if source.line}

    @property
    def stopped(self) -> bool:
        """Whether somebody asked for an early end."""
        return self._stopping.is_set()

    def finishing(self) -> list[str]:
        """Names of the sinks that have their last frame and put their files together."""
        return sorted(name for name, sink in self._sinks.items() if sink.drain and sink.drain.finishing)

    def stop(self) -> None:
        """Asks for an early end: sources stop, what is queued is still inspected. Returns at once."""
        self._stopping.set()
        for line in self.lines().values():
            line.stop()

    def abandon(self) -> None:
        """Asks for the end now: what is queued is given up, and counted as such. Returns at once."""
        self.stop()
        for line in self.lines().values():
            line.abandon()

    def join(self, timeout: float | None = None) -> bool:
        """Waits until every thread has ended.

        Args:
            timeout: Longest wait in seconds; None for no bound.

        Returns:
            Whether all have ended.
        """
        end = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        return not self.hanging()

    def hanging(self) -> list[str]:
        """Names of the threads that still run."""
        return [thread.name for thread in self._threads if thread.is_alive()]

    def close(self, drain: float = 5.0, grace: float = 2.0) -> bool:
        """Stops within a bound: lets queued frames through, then gives them up, then leaves hanging elements behind.

        Args:
            drain: Seconds in which queued frames are still inspected and written.
            grace: Seconds for what is in hand after that.

        Returns:
            Whether everything ended; otherwise a ``hung`` event names what did not.
        """
        self.stop()
        if self.join(drain):
            return True
        self.abandon()
        if self.join(grace):
            return True
        self.bus.emit("error", "graph", "hung", f"did not end in time: {', '.join(self.hanging())}")
        return False


def _missing(sink: _Sink) -> int:
    """Frames that a sink should have and has not. Those that the queue of a live source drops are no fault."""
    total = 0
    for stream, counters, working in sink.members:
        counts = counters.snapshot().sinks[sink.sink.name]
        # Given up before its time: what the lanes have in hand will be missing.
        total += counts.failed if stream.live else max(int(working()), counts.given - counts.written)
    return total
