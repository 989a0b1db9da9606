"""The graph at work: source ! queue ! transform ! sinks, each in threads of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lineside.pipelines.elements import Sink, Source, StreamInfo, Transform
from lineside.pipelines.events import Bus
from lineside.pipelines.flow import Flow
from lineside.pipelines.frame import Frame
from lineside.pipelines.link import Link, Policy
from lineside.pipelines.names import printable
from lineside.runtime.errors import LinesideError

__all__ = ["Branch", "Graph", "apply"]

_FILE_DEPTH = 4
_LIVE_DEPTH = 64


@dataclass(frozen=True)
class Branch:
    """A sink and the policy of the queue in front of it.

    Attributes:
        sink: The sink.
        policy: Its queue's policy. None: nothing is lost and the source waits where it can (files); the oldest of 64
            goes where it cannot (live sources), because a slow sink must not slow the inspection.
    """

    sink: Sink
    policy: Policy | None = None


class Graph:
    """Runs frames from one source through one transform into any number of sinks.

    Elements are opened by `start` and closed when their last frame is through; `stop` asks for an early end, and
    `join` waits for it within a bound, also where an element hangs.

    Args:
        source: Where frames come from.
        transform: What is done to each, by as many threads as it has lanes.
        sinks: Where results go; a plain sink stands for `Branch` with its default policy.
        policy: Policy of the queue in front of the transform. None: ``every`` for files, ``latest`` for live sources.
        deadline_ns: Time from trigger or capture to decision after which a frame counts as late.
        limit: Stop after so many frames.
        bus: Where events go.
        now: Monotonic clock in ns.
        listener: Told each frame whose outcome is settled.
    """

    def __init__(
        self,
        source: Source,
        transform: Transform,
        sinks: Sequence[Sink | Branch] = (),
        *,
        policy: Policy | None = None,
        deadline_ns: int | None = None,
        limit: int | None = None,
        bus: Bus | None = None,
        now: Callable[[], int] = time.monotonic_ns,
        listener: Callable[[Frame], None] | None = None,
    ) -> None:
        self.bus = bus or Bus()
        self._source = source
        self._transform = transform
        self._branches = [sink if isinstance(sink, Branch) else Branch(sink) for sink in sinks]
        self._policy = policy
        self._deadline_ns = deadline_ns
        self._limit = limit
        self._now = now
        self._listener = listener
        self._flow: Flow | None = None
        self._stream: StreamInfo | None = None
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._lanes_left = 0
        self._finishing: set[str] = set()
        self.failure: BaseException | None = None
        """What ended the source before its time; None where nothing did."""

    @property
    def flow(self) -> Flow:
        """Counters, queues and histograms, once started."""
        if self._flow is None:
            raise RuntimeError("the graph has not been started")
        return self._flow

    @property
    def stream(self) -> StreamInfo:
        """What the source said about itself, once started."""
        if self._stream is None:
            raise RuntimeError("the graph has not been started")
        return self._stream

    @property
    def stopped(self) -> bool:
        """Whether somebody asked for an early end."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Opens every element, the source last, and starts to work.

        Raises:
            LinesideError: An element cannot be opened; those already open are closed again.
        """
        opened: list[Callable[[], None]] = []
        try:
            stream = self._stream = _limited(self._source.open(), self._limit)
            opened.append(self._source.close)
            self._transform.open()
            opened.append(self._transform.close)
            branches = [Branch(b.sink, b.policy or _default_policy(stream)) for b in self._branches]
            for branch in branches:
                branch.sink.open(stream)
                opened.append(partial(branch.sink.close, 1))  # What never began is not finished.
        except BaseException:
            for close in reversed(opened):
                close()
            raise
        lanes = max(1, self._transform.lanes)
        policy = self._policy or Policy.parse("latest" if stream.live else "every", max(_FILE_DEPTH, lanes))
        self._flow = Flow(
            [(b.sink.name, b.policy or policy, b.sink.takes_failed) for b in branches],
            policy=policy,
            lanes=lanes,
            deadline_ns=self._deadline_ns,
            bus=self.bus,
            now=self._now,
            listener=self._listener,
        )
        self._lanes_left = lanes
        self._spawn("source", self._read)
        for lane in range(lanes):
            self._spawn(f"lane {lane}", self._work)
        for branch in branches:
            self._spawn(f"sink {branch.sink.name}", partial(self._drain, branch.sink))
        for thread in self._threads:
            thread.start()
        self.bus.emit("info", stream.name, "started", f"{stream.name}: {lanes} lanes, queue {policy}")

    def _spawn(self, name: str, target: Callable[[], None]) -> None:
        # Daemon threads: an element that hangs in a driver must not keep the process alive.
        self._threads.append(threading.Thread(target=target, name=name, daemon=True))

    def _read(self) -> None:
        """Thread of the source."""
        flow, wait = self.flow, not self.stream.live
        try:
            for count, frame in enumerate(self._source.frames(), start=1):
                flow.arrive(frame, wait=wait)
                if self._stopping.is_set() or count == self._limit:
                    break
        except Exception as error:
            self.failure = error
            self.bus.emit("error", self.stream.name, "source failed", str(error))
        finally:
            flow.queue.close()
            self._close(self.stream.name, self._source.close)
            self.bus.emit("info", self.stream.name, "ended", f"{self.stream.name}: no more frames")

    def _work(self) -> None:
        """Thread of one lane."""
        flow = self.flow
        while (frame := flow.take()) is not None:
            if frame.error is None:
                apply(self._transform, frame)
            flow.finish(frame)
        with self._lock:
            self._lanes_left -= 1
            last = self._lanes_left == 0
        if last:
            for link in flow.sinks.values():
                link.close()
            self._close("transform", self._transform.close)

    def _drain(self, sink: Sink) -> None:
        """Thread of one sink."""
        flow = self.flow
        link: Link = flow.sinks[sink.name]
        broken = False
        while (frame := link.get()) is not None:
            try:
                sink.write(frame)
                error, broken = None, False
            except Exception as reason:
                error = str(reason)
                if not broken:  # A full disk fails every frame: said once, counted each time.
                    self.bus.emit("error", sink.name, "sink failed", f"{sink.name}: {error}")
                broken = True
            flow.written(frame, sink.name, error)
        with self._lock:
            self._finishing.add(sink.name)
        self._close(sink.name, partial(sink.close, self._missing(sink.name)))
        with self._lock:
            self._finishing.discard(sink.name)

    def _missing(self, sink: str) -> int:
        """Frames that a sink should have and has not. Those that the queue of a live source drops are no fault."""
        with self._lock:
            working = self._lanes_left > 0  # Given up before its time: what the lanes have in hand will be missing.
        counts = self.flow.counters.snapshot().sinks[sink]
        return counts.failed if self.stream.live else max(int(working), counts.given - counts.written)

    def finishing(self) -> list[str]:
        """Names of the sinks that have their last frame and put their files together."""
        with self._lock:
            return sorted(self._finishing)

    def _close(self, name: str, close: Callable[[], None]) -> None:
        try:
            close()
        except Exception as error:
            self.bus.emit("error", name, "close failed", f"{name}: {error}")

    def stop(self) -> None:
        """Asks for an early end: the source stops, what is queued is still inspected. Returns at once."""
        self._stopping.set()
        self._source.stop()

    def abandon(self) -> None:
        """Asks for the end now: what is queued is given up, and counted as such. Returns at once."""
        self.stop()
        if self._flow is not None:
            self._flow.abandon()

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

    def run(self) -> None:
        """Starts, and waits until the source has ended and everything is written.

        Raises:
            LinesideError: An element could not be opened.
        """
        self.start()
        self.join()


def apply(transform: Transform, frame: Frame) -> None:
    """Runs a transform on one frame; whatever it raises becomes the frame's ``error``."""
    try:
        transform(frame)
    except Exception as error:
        frame.error = str(error) if isinstance(error, LinesideError) else f"{type(error).__name__}: {error}"


def _limited(stream: StreamInfo, limit: int | None) -> StreamInfo:
    """A stream of which no more than so many frames are taken, under a name that can be written down."""
    stream = replace(stream, name=printable(stream.name))
    if limit is None:
        return stream
    return replace(stream, frames=limit if stream.frames is None else min(limit, stream.frames))


def _default_policy(stream: StreamInfo) -> Policy:
    """Policy of a sink's queue where none is given."""
    return Policy("drop-oldest", _LIVE_DEPTH) if stream.live else Policy("every", _FILE_DEPTH)
