"""What happens to the frames of one source in front of one model, without threads: every transition, stamp and count.

Lanes, sinks and sources drive it from threads and the wall clock; a simulation drives the same steps from a list of
events and a clock of its own, so that accounting is tested without waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lineside.pipelines.counters import Counters
from lineside.pipelines.elements import FAULTS, Transform, reason
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import DECIDED, TAKEN, Frame, Outcome
from lineside.pipelines.inlet import Inlet
from lineside.pipelines.link import Link, Policy
from lineside.pipelines.outlets import Outlets
from lineside.pipelines.plan.data import Late
from lineside.pipelines.stages import StageClock

__all__ = ["INSPECT", "Flow", "Terms", "apply"]

INSPECT = "inspect"
"""Name of the queue in front of the model."""

_AHEAD = 4
"""Frames per lane that may be finished before an older one; bounds the memory behind a slow frame."""


@dataclass(frozen=True)
class Terms:
    """On what terms frames are looked at.

    Attributes:
        policy: What the queue in front of the model does when it is full.
        patient: The source can wait: where a queue with policy ``every`` is full it is held back. For a live source such
            a frame is a counted fault.
        deadline_ns: Time from trigger (or capture) to decision after which a result is late; None for any.
        late: What becomes of such a result.
        priority: How urgent the source is among those that share the model.
    """

    policy: Policy
    patient: bool = True
    deadline_ns: int | None = None
    late: Late = "mark"
    priority: int = 0


class Flow:
    """The passive part of one model's look at one source: queue, order of results, counts, histograms.

    Args:
        name: Name of the source, for events.
        inlet: Where the model's lanes take frames.
        terms: On what terms.
        sinks: Names of the sinks that will join `outlets`.
        lanes: Frames the model works on at once.
        after: Transforms that see the results in the order of capture.
        lock: Lock of the counts, see `Counters`.
        bus: Where events go.
        now: Monotonic clock in ns.
        listener: Told each frame whose outcome is settled, after its last stamp.
        model: Name of the model, which its frames then carry.

    Attributes:
        queue: The queue in front of the model.
        outlets: The queues in front of the sinks.
        counters: What became of the frames.
        clock: How long they took.
    """

    def __init__(
        self,
        name: str,
        inlet: Inlet,
        terms: Terms,
        *,
        sinks: Sequence[str] = (),
        lanes: int = 1,
        after: Sequence[Transform] = (),
        lock: threading.Lock | None = None,
        bus: Bus | None = None,
        now: Callable[[], int] = time.monotonic_ns,
        listener: Callable[[Frame], None] | None = None,
        model: str = "",
    ) -> None:
        self.name = name
        self._model = model
        self.terms = terms
        self.counters = Counters((INSPECT,), tuple(sinks), lock)
        self.clock = StageClock()
        self._bus = bus or Bus()
        self.outlets = Outlets(name, self.counters, self._through, bus=self._bus, now=now)
        self._now = now
        self._listener = listener
        self._after = tuple(after)
        self._inlet = inlet
        self._limit = max(lanes, 1) * _AHEAD
        self._order = threading.Lock()
        self._ready: dict[int, Frame] = {}
        self._tickets: dict[int, int] = {}
        self._next = 0
        self._head = 0
        self._emitting = False
        self._again = False
        self._closing = False
        self._skipped: set[int] = set()
        self.queue: Link = inlet.join(
            INSPECT, terms.policy, self._displaced, taking=self._taken, ready=self._room, priority=terms.priority
        )

    def arrive(self, frame: Frame, *, wait: bool | None = None) -> bool:
        """A frame came out of the source.

        Args:
            frame: The frame, with its capture stamped.
            wait: Whether to wait for a place; None: as the terms say.

        Returns:
            Whether the queue took it. If not it has ended as dropped (overflow), never inspected (queue closed) or
            incomplete.
        """
        frame.model = self._model
        if frame.missed:
            self.counters.unseen(frame.missed)
        self.counters.entered(frame)
        if frame.damage is not None:
            self._end(frame, "incomplete")
            return False
        wait = self.terms.patient if wait is None else wait
        if self.queue.put(frame) if wait else self.queue.offer(frame):
            return True
        if self.queue.closed:
            self._end(frame, "never inspected")
        else:
            self._displaced(frame)
            self._bus.often(
                "error",
                self.name,
                "overflow",
                f"{self.name}: the queue of {self.queue.policy.depth} frames is full: frames are lost although every one "
                "should be inspected; the model is slower than the source",
                first=1,
            )
        return False

    def _taken(self, frame: Frame) -> None:
        """A lane takes the frame; called in the order of taking."""
        frame.stamp(TAKEN, self._now())
        with self._order:
            self._tickets[frame.sequence] = self._next
            self._next += 1

    def _room(self) -> bool:
        """Whether one more frame may be worked on before the oldest one is decided."""
        return self._next - self._head < self._limit

    def expired(self, frame: Frame) -> bool:
        """Whether a result would come too late to be of use, so that looking is a waste."""
        deadline = self.terms.deadline_ns
        return self.terms.late == "drop" and deadline is not None and self._now() - frame.begin > deadline

    def skip(self, frame: Frame) -> None:
        """A lane gives a frame back without having looked at it."""
        self._skipped.add(frame.sequence)
        self.finish(frame)

    def finish(self, frame: Frame) -> None:
        """A lane is through with a frame (`Frame.error` says how it went); never waits."""
        with self._order:
            self._ready[self._tickets.pop(frame.sequence)] = frame
        self.pump()

    def pump(self) -> None:
        """Hands on the results whose turn has come, in the order of capture, as far as the sinks have room."""
        with self._order:
            if self._emitting:
                self._again = True  # Somebody is at it just now, and looks once more before leaving.
                return
            self._emitting = True
        while True:
            room = not self.terms.patient or self.outlets.room()
            with self._order:
                head = self._ready.pop(self._head, None) if room else None
                if head is None:
                    if self._again:
                        self._again = False
                        continue
                    self._emitting = False
                    over = self._closing and self._head == self._next
                    break
                waited_for = not self._room()
                self._head += 1
            if waited_for:
                self._inlet.wake()
            try:
                self._decide(head)
            except FAULTS as error:
                self.fault(error)
        if over:
            self.outlets.close()

    def close(self) -> None:
        """Says that no lane will finish any more; the sinks hear of it once they have had every result."""
        with self._order:
            self._closing = True
        self.pump()

    def _decide(self, frame: Frame) -> None:
        """Settles the outcome and hands the frame to the sinks."""
        if frame.sequence in self._skipped:
            self._skipped.discard(frame.sequence)
            frame.stamp(DECIDED, self._now())
            self.counters.ended(frame, "never inspected")
            self.outlets.give(frame, failed=True)
            return
        for transform in self._after if frame.error is None else ():
            apply(transform, frame)
        frame.stamp(DECIDED, self._now())
        late = self.terms.deadline_ns is not None and frame.clock[DECIDED] - frame.begin > self.terms.deadline_ns
        if frame.error is not None:
            self.counters.ended(frame, "failed")
            where = "" if frame.name and frame.name in frame.error else f"{frame.name or f'frame {frame.sequence}'}: "
            self._bus.often("error", self.name, "frame failed", f"{where}{frame.error}")
        else:
            self.counters.ended(frame, "late" if late else "inspected")
        if frame.note is not None:
            self._bus.often("warning", self.name, "frame noted", frame.note)
        if late and self.terms.late == "drop":
            frame.detections = None  # Nobody shall act on it.
            self.outlets.give(frame, failed=True)
        else:
            self.outlets.give(frame, failed=frame.error is not None)

    def fault(self, error: BaseException) -> None:
        """A frame cannot be handed on, because somebody has meddled with it; it stays in flight, and the rest goes on."""
        self._bus.often("error", self.name, "fault", f"{self.name}: a frame cannot be handed on: {reason(error)}")

    def written(self, frame: Frame, sink: str, error: str | None = None) -> None:
        """A sink is through with a frame, and has room for another; see `Outlets.written`."""
        self.outlets.written(frame, sink, error)
        self.pump()

    def _through(self, frame: Frame) -> None:
        """The last sink has the frame behind it."""
        if frame.outcome in ("inspected", "late"):
            self.clock.record(frame, self.terms.deadline_ns)
        self._report(frame)

    def _displaced(self, frame: Frame) -> None:
        """The queue in front of the model gave a frame up."""
        self.counters.ended(frame, "dropped", INSPECT)
        self._ended(frame)

    def _end(self, frame: Frame, outcome: Outcome) -> None:
        """A frame is not looked at at all."""
        self.counters.ended(frame, outcome)
        self._ended(frame)

    def _ended(self, frame: Frame) -> None:
        self._report(frame)
        frame.release()

    def _report(self, frame: Frame) -> None:
        """Tells the listener; one that fails is not told again, for it must never stop the graph."""
        listener = self._listener
        if listener is None:
            return
        try:
            listener(frame)
        except FAULTS as error:
            self._listener = None
            message = f"{self.name}: who listens to its frames failed: {reason(error)}"
            self._bus.emit("error", self.name, "listener failed", message)

    def abandon(self) -> int:
        """Gives up everything that still waits in a queue, so that a stop is quick.

        Returns:
            How many frames were never inspected because of it.
        """
        left = self.queue.abandon()
        for frame in left:
            self._end(frame, "never inspected")
        self.outlets.abandon()
        self.pump()
        return len(left)


def apply(transform: Transform, frame: Frame) -> None:
    """Runs a transform on one frame; whatever it raises becomes the frame's ``error``."""
    try:
        transform(frame)
    except FAULTS as error:
        frame.error = reason(error)
