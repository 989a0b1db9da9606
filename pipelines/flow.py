"""What happens to a frame in the graph, without threads: every transition, its stamp and its count.

`Graph` drives this from threads and the wall clock; a simulation drives the same steps from a list of events and a
clock of its own, so that accounting is tested without waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from lineside.pipelines.counters import Counters
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import DECIDED, DONE, TAKEN, Frame
from lineside.pipelines.link import Link, Policy
from lineside.pipelines.stages import StageClock

__all__ = ["INSPECT", "Flow"]

INSPECT = "inspect"
"""Name of the queue in front of the transform."""

_AHEAD = 4
"""Frames per lane that may be finished before an older one; bounds the memory behind a slow frame."""


class Flow:
    """The passive part of a graph: queue, order of results, queues of the sinks, counts, histograms.

    Args:
        sinks: Name of each sink, its queue's policy, and whether it takes failed frames.
        policy: Policy of the queue in front of the transform.
        lanes: Frames the transform works on at once.
        deadline_ns: Time from trigger (or capture) to decision after which a frame counts as late; None for never.
        bus: Where events go.
        now: Monotonic clock in ns.
        listener: Told each frame whose outcome is settled, after its last stamp.
    """

    def __init__(
        self,
        sinks: Sequence[tuple[str, Policy, bool]],
        *,
        policy: Policy,
        lanes: int = 1,
        deadline_ns: int | None = None,
        bus: Bus | None = None,
        now: Callable[[], int] = time.monotonic_ns,
        listener: Callable[[Frame], None] | None = None,
    ) -> None:
        self.bus = bus or Bus()
        self.now = now
        self.deadline_ns = deadline_ns
        self.listener = listener
        self.clock = StageClock()
        self.counters = Counters((INSPECT,), tuple(name for name, _, _ in sinks))
        self.queue = Link(INSPECT, policy, self._displaced)
        self.sinks = {name: Link(name, policy, partial(self._sink_lost, name)) for name, policy, _ in sinks}
        self._takes_failed = {name for name, _, failed in sinks if failed}
        self._limit = max(lanes, 1) * _AHEAD
        self._taking = threading.Lock()
        self._order = threading.Condition()
        self._ready: dict[int, Frame] = {}
        self._tickets: dict[int, int] = {}
        self._next = 0
        self._head = 0
        self._emitting = False
        self._overflows = 0

    def arrive(self, frame: Frame, *, wait: bool) -> bool:
        """A frame came out of the source.

        Args:
            frame: The frame, with its capture stamped.
            wait: Hold the source back while a queue with policy ``every`` is full, instead of overflowing.

        Returns:
            Whether the queue took it. If not it has ended as dropped (overflow) or never inspected (queue closed).
        """
        self.counters.entered(frame)
        taken = self.queue.put(frame) if wait else self.queue.offer(frame)
        if taken:
            return True
        if self.queue.closed:
            self._abandoned(frame)
        else:
            self._displaced(frame)
            self._overflows += 1
            if self._overflows == 1:
                self.bus.emit(
                    "error",
                    INSPECT,
                    "overflow",
                    f"the queue of {self.queue.policy.depth} frames is full: frames are lost although every one "
                    "should be inspected; the model is slower than the source",
                )
        return False

    def take(self, *, wait: bool = True) -> Frame | None:
        """A lane asks for the next frame.

        Args:
            wait: Wait for one.

        Returns:
            The frame; None where there is none (``wait=False``), or none any more.
        """
        with self._taking:
            with self._order:
                while self._next - self._head >= self._limit:
                    if not wait:
                        return None
                    self._order.wait()
            frame = self.queue.get() if wait else self.queue.poll()
            if frame is None:
                return None
            frame.stamp(TAKEN, self.now())
            with self._order:
                self._tickets[frame.sequence] = self._next
                self._next += 1
            return frame

    def finish(self, frame: Frame, *, wait: bool = True) -> None:
        """A lane is through with a frame (`Frame.error` says how it went). Results leave in the order of capture.

        Args:
            frame: The frame.
            wait: Wait for a place in sink queues with policy ``every``.
        """
        with self._order:
            self._ready[self._tickets.pop(frame.sequence)] = frame
            if self._emitting:
                return  # Another lane hands results on just now; it takes this one along when its turn has come.
            self._emitting = True
        while True:
            with self._order:
                head = self._ready.pop(self._head, None)
                if head is None:
                    self._emitting = False
                    return
                self._head += 1
                self._order.notify_all()
            self._decide(head, wait)

    def _decide(self, frame: Frame, wait: bool) -> None:
        """Settles the outcome and hands the frame to the sinks."""
        frame.stamp(DECIDED, self.now())
        if frame.error is not None:
            self.counters.ended(frame, "failed")
            where = "" if frame.name and frame.name in frame.error else f"{frame.name or f'frame {frame.sequence}'}: "
            self.bus.emit("error", INSPECT, "frame failed", f"{where}{frame.error}")
        elif self.deadline_ns is not None and frame.clock[DECIDED] - frame.begin > self.deadline_ns:
            self.counters.ended(frame, "late")
        else:
            self.counters.ended(frame, "inspected")
        if frame.note is not None:
            self.bus.emit("warning", INSPECT, "frame noted", frame.note)
        names = [name for name in self.sinks if frame.error is None or name in self._takes_failed]
        if not names:
            self._done(frame)
            return
        frame.give(len(names))
        for name in names:
            link = self.sinks[name]
            self.counters.sink(name, given=1)
            if not (link.put(frame) if wait else link.offer(frame)):
                self._sink_lost(name, frame)

    def written(self, frame: Frame, sink: str, error: str | None = None) -> None:
        """A sink is through with a frame.

        Args:
            frame: The frame.
            sink: Name of the sink.
            error: Why it could not be written; None where it was.
        """
        frame.stamp(f"sink {sink}", self.now())
        if error is None:
            self.counters.sink(sink, written=1)
        else:
            self.counters.sink(sink, failed=1)
        self._left(frame)

    def _sink_lost(self, sink: str, frame: Frame) -> None:
        """A sink's queue gave a frame up."""
        self.counters.sink(sink, dropped=1)
        self._left(frame)

    def _left(self, frame: Frame) -> None:
        if frame.taken_back():
            self._done(frame)

    def _done(self, frame: Frame) -> None:
        """The last sink has the frame behind it."""
        frame.stamp(DONE, self.now())
        if frame.error is None:
            self.clock.record(frame)
        if self.listener is not None:
            self.listener(frame)
        frame.release()

    def _displaced(self, frame: Frame) -> None:
        """The inspection queue gave a frame up."""
        self.counters.ended(frame, "dropped", INSPECT)
        if self.listener is not None:
            self.listener(frame)
        frame.release()

    def _abandoned(self, frame: Frame) -> None:
        """The graph was stopped before the frame's turn came."""
        self.counters.ended(frame, "never inspected")
        if self.listener is not None:
            self.listener(frame)
        frame.release()

    def abandon(self) -> int:
        """Gives up everything that still waits in a queue, so that a stop is quick.

        Returns:
            How many frames were never inspected because of it.
        """
        left = self.queue.abandon()
        for frame in left:
            self._abandoned(frame)
        for name, link in self.sinks.items():
            for frame in link.abandon():
                self._sink_lost(name, frame)
        return len(left)
