"""The thread of one source: reads frames and hands each to every model that looks at it, and to sinks that want all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from lineside.pipelines.counters import Counters
from lineside.pipelines.elements import FAULTS, Source, SourceState, StreamInfo, reason
from lineside.pipelines.events import Bus
from lineside.pipelines.flow import Flow
from lineside.pipelines.frame import CAPTURE, DECIDED, READ, Frame
from lineside.pipelines.outlets import Outlets
from lineside.pipelines.triggers import Triggers

__all__ = ["Line", "Passage"]


class Passage:
    """Hands frames to sinks without any model between; only the sinks' counts mean something here.

    Args:
        name: Name of the source.
        sinks: Names of the sinks that will join `outlets`.
        patient: Whether the source can wait for a slow sink.
        lock: Lock of the counts, see `Counters`.
        bus: Where events go.
    """

    def __init__(self, name: str, sinks: Sequence[str], *, patient: bool, lock: threading.Lock, bus: Bus) -> None:
        self.counters = Counters((), tuple(sinks), lock)
        self.outlets = Outlets(name, self.counters, lambda frame: None, bus=bus)
        self._patient = patient
        self._room = threading.Condition()
        self._number = 0

    def arrive(self, frame: Frame) -> None:
        """A frame came out of the source; waits for room where the source can wait."""
        frame.sequence = self._number
        self._number += 1
        if self._patient:
            with self._room:
                self._room.wait_for(self.outlets.room)
        frame.stamp(DECIDED)  # There is nothing to decide; for sinks it is the moment at which they get it.
        self.outlets.give(frame, failed=frame.error is not None or frame.damage is not None)

    def written(self, frame: Frame, sink: str, error: str | None = None) -> None:
        """A sink is through with a frame."""
        self.outlets.written(frame, sink, error)
        with self._room:
            self._room.notify_all()

    def abandon(self) -> None:
        """Gives up what still waits."""
        self.outlets.abandon()
        with self._room:
            self._room.notify_all()


class Line:
    """Reads a source to its end.

    Args:
        source: The source, open.
        stream: What it said about itself.
        flows: The looks at it.
        passage: Its way to sinks without a model; None where there is none.
        bus: Where events go.
        limit: Stop after so many frames.
        rename: Whether frames get the stream's name.
        ended: Called after the last frame, for what the source leaves behind.
        saw: Shown each frame before anybody works on it.
    """

    def __init__(
        self,
        source: Source,
        stream: StreamInfo,
        flows: Sequence[Flow],
        passage: Passage | None,
        bus: Bus,
        *,
        limit: int | None = None,
        rename: bool = False,
        ended: Callable[[], None] = lambda: None,
        saw: Callable[[Frame], None] = lambda frame: None,
    ) -> None:
        self.stream = stream
        self.source = source
        self.flows = tuple(flows)
        self.passage = passage
        self.thread = threading.Thread(target=self._run, name=f"source {stream.name}", daemon=True)
        self.failure: BaseException | None = None
        """What ended the source before its time; None where nothing did."""
        self.triggers = Triggers(stream.name, source, self._unseen, bus)
        """Triggers from outside."""
        self._bus = bus
        self._limit = limit
        self._rename = rename
        self._ended = ended
        self._saw = saw
        self._stopping = threading.Event()
        self._state: SourceState = "NOT_STARTED"

    @property
    def state(self) -> SourceState:
        """What the source is doing; a watched one knows it better."""
        return getattr(self.source, "state", self._state)

    def _run(self) -> None:
        self._state = "RUNNING"
        try:
            if not self._stopping.is_set():
                self._read()
        except FAULTS as error:
            self.failure = error
            self._bus.emit("error", self.stream.name, "source failed", reason(error))
        finally:
            self._state = "ENDED"
            self.triggers.close()
            for flow in self.flows:
                flow.queue.close()
            if self.passage is not None:
                self.passage.outlets.close()
            self._ended()
            self._bus.emit("info", self.stream.name, "ended", f"{self.stream.name}: no more frames")

    def _read(self) -> None:
        """Hands on all frames of the source."""
        takers = [*((self.passage.arrive,) if self.passage else ()), *(flow.arrive for flow in self.flows)]
        *others, last = takers or [Frame.release]
        for count, frame in enumerate(self.source.frames(), start=1):
            if self._rename:
                frame.source = self.stream.name
            self.triggers.answered(frame)
            self._saw(frame)
            if CAPTURE not in frame.clock:  # Somebody's own source: what has no beginning would always be late.
                frame.stamp(CAPTURE)
                frame.stamp(READ)
            # The last one gets the frame, the others a fork; all are made before anybody works on one.
            for taker, fork in [(taker, frame.fork()) for taker in others]:
                taker(fork)
            last(frame)
            if self._stopping.is_set() or count == self._limit:
                break

    def _unseen(self, parts: int) -> None:
        """Parts have passed, and no frame will ever tell of them."""
        for flow in self.flows:
            flow.counters.unseen(parts)

    def stop(self) -> None:
        """Asks for an early end. Returns at once, also where the source does not."""
        self._stopping.set()
        threading.Thread(target=self._ask, name=f"stop {self.stream.name}", daemon=True).start()

    def _ask(self) -> None:
        try:
            self.source.stop()
        except FAULTS as error:
            message = f"{self.stream.name} cannot be asked to end: {reason(error)}"
            self._bus.emit("error", self.stream.name, "stop failed", message)

    def abandon(self) -> threading.Thread:
        """Gives up what is queued. Returns at once.

        Returns:
            The thread that does it: a result whose turn comes thereby meets transforms, and one of them may hang.
        """
        thread = threading.Thread(target=self._abandon, name=f"stop queues of {self.stream.name}", daemon=True)
        thread.start()
        return thread

    def _abandon(self) -> None:
        for flow in self.flows:
            flow.abandon()
        if self.passage is not None:
            self.passage.abandon()
