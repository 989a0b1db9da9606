"""The graph at work: sources, models that several of them share, and sinks, each in threads of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

from lineside.pipelines.counters import Counters, Snapshot
from lineside.pipelines.elements import Sink, Source, SourceState, StreamInfo, Transform
from lineside.pipelines.events import Bus
from lineside.pipelines.flow import Flow
from lineside.pipelines.inlet import Inlet, Order
from lineside.pipelines.line import Line, Passage
from lineside.pipelines.looks import BranchName, Feed, Look, Way
from lineside.pipelines.streams import common, fitted, limited
from lineside.pipelines.wiring import ModelPart, SinkPart, SourcePart, Wiring, closed
from lineside.runtime.errors import BadOption

__all__ = ["Runner"]


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
        self.passages: dict[str, Passage] = {}
        """Every source's way to sinks without a model, once started."""
        self._now = now
        self._lock = threading.Lock()
        self._sources: dict[str, SourcePart] = {}
        self._models: dict[str, ModelPart] = {}
        self._sinks: dict[str, SinkPart] = {}
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

        Raises:
            BadOption: There is a source of that name.
        """
        _unique("source", name, self._sources)
        self._sources[name] = SourcePart(source, limit, rename)

    def add_model(self, name: str, model: Transform, *, order: Order = "turns", patience_ns: int = 0) -> None:
        """Adds a model; before the start.

        Args:
            name: Its name.
            model: The model.
            order: Which source is served next.
            patience_ns: How long a run waits for more frames where the model takes several.

        Raises:
            BadOption: There is a model of that name.
        """
        _unique("model", name, self._models)
        self._models[name] = ModelPart(model, Inlet(order, self._now), patience_ns)

    def add_sink(self, sink: Sink) -> None:
        """Adds a sink under its own name; before the start.

        Raises:
            BadOption: There is a sink of that name.
        """
        _unique("sink", sink.name, self._sinks)
        self._sinks[sink.name] = SinkPart(sink, Inlet(now=self._now))

    def add_look(self, look: Look) -> None:
        """Lets a model look at a source; before the start.

        Raises:
            BadOption: It looks at it already, or two ways lead to one sink.
        """
        _unique("look", f"{look.source} > {look.model}", [f"{it.source} > {it.model}" for it in self._looks])
        _all_unique(look.ways)
        self._looks.append(look)

    def add_feed(self, feed: Feed) -> None:
        """Hands a source's frames to sinks; before the start.

        Raises:
            BadOption: There is such a way for the source already, or two ways lead to one sink.
        """
        _unique("feed", feed.source, [it.source for it in self._feeds])
        _all_unique(feed.ways)
        self._feeds.append(feed)

    def start(self) -> None:
        """Opens every element and starts to work. After a `stop` it ends at once, with every element closed.

        Raises:
            LinesideError: An element cannot be opened; those already open are closed again.
        """
        opened: list[tuple[str, Callable[[], None]]] = []
        try:
            self._open(opened)
            wiring = Wiring(
                self._sources, self._models, self._sinks, self._looks, self._feeds,
                lock=self._lock, bus=self.bus, now=self._now,
            )  # fmt: skip
        except BaseException:
            for name, close in reversed(opened):
                closed(name, close, self.bus)
            raise
        self.flows, self.passages, self._threads = wiring.flows, wiring.passages, wiring.threads
        if self._stopping.is_set():
            self.stop()  # asked for while elements were opened
        for thread in self._threads:
            thread.start()
        for name in self._sources:
            self.bus.emit("info", name, "started", f"{self.stream_of(name).name} is open")

    def _open(self, opened: list[tuple[str, Callable[[], None]]]) -> None:
        """Opens every element, and notes how each is closed.

        Raises:
            LinesideError: One cannot be opened.
        """
        for name, source in self._sources.items():
            stream = source.source.open()
            opened.append((name, source.source.close))
            source.stream = limited(replace(stream, name=name) if source.rename else stream, source.limit, name)
        for transform in self._transforms():
            transform.open()
            opened.append(("transform", transform.close))
        reaching = self._reaching()
        for name, sink in self._sinks.items():
            sink.sink.open(common(reaching.get(name, [])))
            opened.append((name, partial(sink.sink.close, 1)))  # What never began is not finished.

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

    def snapshot(self) -> dict[BranchName, Snapshot]:
        """The counts of every look, all of one moment."""
        return Counters.together({name: flow.counters for name, flow in self.flows.items()}, self._lock)

    def states(self) -> dict[str, SourceState]:
        """What each source is doing."""
        return {name: source.line.state if source.line else "NOT_STARTED" for name, source in self._sources.items()}

    def lines(self) -> dict[str, Line]:
        """The thread of each source, once started."""
        return {name: source.line for name, source in self._sources.items() if source.line}

    def trigger(
        self, source: str, part: str | None = None, encoder: int | None = None, when: int | None = None
    ) -> bool:
        """Triggers a source: the way in for a controller or a program that knows when a part is in place. From any thread.

        Args:
            source: Its name.
            part: Identification of the part; travels with the frame.
            encoder: Count of the line's encoder; travels with the frame.
            when: Monotonic time in ns of the trigger, from which deadlines count; None for the present.

        Returns:
            Whether the trigger reached the camera. Where it did not, the part counts as never inspected; so does one whose
            picture does not come.

        Raises:
            BadOption: There is no such source, or it cannot be triggered.
        """
        line = self.lines().get(source)
        if line is None:
            known = ", ".join(self.lines()) or "none yet: the graph has not been started"
            raise BadOption(f"there is no source '{source}' to be triggered; there are: {known}")
        return line.triggers.give(part, encoder, when)

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
        """Asks for the end now: what is queued is given up, and counted as such once `join` is back. Returns at once."""
        self.stop()
        self._threads = [*self._threads, *(line.abandon() for line in self.lines().values())]

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


def _unique(what: str, name: str, taken: Collection[str]) -> None:
    """Refuses a name that something else has: the one of them would silently take the other's place.

    Raises:
        BadOption: It is taken.
    """
    if name in taken:
        raise BadOption(f"the graph has two of the {what} '{name}': give one of them another name")


def _all_unique(ways: Sequence[Way]) -> None:
    names = [way.sink for way in ways]
    for place, name in enumerate(names):
        _unique("way to sink", name, names[:place])
