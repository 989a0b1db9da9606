"""Counts that add up: every frame that entered is accounted for exactly once, at any moment."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from lineside.pipelines.frame import Frame, Outcome

__all__ = ["Counters", "SinkCounts", "Snapshot"]

Key = TypeVar("Key", bound=Hashable)


@dataclass
class SinkCounts:
    """Where the frames handed to one sink are: ``given == written + dropped + failed + waiting``.

    Attributes:
        given: Frames handed to the sink's queue.
        written: Frames it has written.
        dropped: Frames its queue gave up, so that a slow sink never slows the inspection.
        failed: Frames whose writing raised an error.
        waiting: Frames in its queue or in its hands.
    """

    given: int = 0
    written: int = 0
    dropped: int = 0
    failed: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class Snapshot:
    """All counts of one moment.

    ``entered == inspected + late + sum(dropped) + incomplete + never_inspected + failed + in_flight``.

    Attributes:
        entered: Frames the source gave, and parts known to have passed without one.
        inspected: Frames with a result in time.
        late: Frames with a result after their deadline.
        dropped: Frames a full queue gave up, by the name of the queue.
        incomplete: Frames that arrived damaged and were not inspected.
        never_inspected: Parts that passed unseen, and frames left in a queue when the graph was stopped.
        failed: Frames that could not be read, or on which the transform failed.
        in_flight: Frames between the source and their decision.
        detections: Objects found on all inspected and late frames.
        sinks: Counts of each sink, by its name.
    """

    entered: int = 0
    inspected: int = 0
    late: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    incomplete: int = 0
    never_inspected: int = 0
    failed: int = 0
    in_flight: int = 0
    detections: int = 0
    sinks: dict[str, SinkCounts] = field(default_factory=dict)

    @property
    def decided(self) -> int:
        """Frames with a result, in time or late."""
        return self.inspected + self.late

    @property
    def lost(self) -> int:
        """Frames and parts without a result that are not in flight any more."""
        return sum(self.dropped.values()) + self.incomplete + self.never_inspected + self.failed

    @property
    def balanced(self) -> bool:
        """Whether the counts add up, for the frames and for every sink."""
        return self.entered == self.decided + self.lost + self.in_flight and all(
            sink.given == sink.written + sink.dropped + sink.failed + sink.waiting for sink in self.sinks.values()
        )

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain dicts and ints."""
        return asdict(self)


class Counters:
    """The counts of one source and its inspection, changed and read under one lock.

    A frame in flight is counted as such when it enters and taken off when it ends, never worked out from the rest, so
    that a frame lost or ended twice shows.

    Args:
        links: Names of the queues that may give frames up.
        sinks: Names of the sinks.
        lock: The lock of several counts that are read in one moment, see `together`; its own where none is given.
    """

    def __init__(
        self, links: tuple[str, ...] = (), sinks: tuple[str, ...] = (), lock: threading.Lock | None = None
    ) -> None:
        self._lock = lock or threading.Lock()
        self._entered = 0
        self._in_flight = 0
        self._detections = 0
        self._outcomes: dict[Outcome, int] = dict.fromkeys(
            ("inspected", "late", "incomplete", "never inspected", "failed"), 0
        )
        self._dropped = dict.fromkeys(links, 0)
        self._sinks = {name: SinkCounts() for name in sinks}

    def entered(self, frame: Frame) -> None:
        """A frame came out of the source; gives it its sequence number."""
        with self._lock:
            frame.sequence = self._entered
            self._entered += 1
            self._in_flight += 1

    def unseen(self, parts: int) -> None:
        """Parts are known to have passed without a frame."""
        with self._lock:
            self._entered += parts
            self._outcomes["never inspected"] += parts

    def ended(self, frame: Frame, outcome: Outcome, link: str = "") -> None:
        """A frame's fate is settled, once and for all.

        Args:
            frame: The frame.
            outcome: How it ended.
            link: Name of the queue that gave it up, for ``dropped``.

        Raises:
            RuntimeError: The frame has ended before: a fault in the graph.
        """
        with self._lock:
            if frame.outcome is not None:
                raise RuntimeError(f"frame {frame.sequence} ended twice: {frame.outcome}, then {outcome}")
            frame.outcome = outcome
            self._in_flight -= 1
            if outcome == "dropped":
                self._dropped[link] += 1
                return
            self._outcomes[outcome] += 1
            if frame.detections is not None:
                self._detections += len(frame.detections)

    def sink(self, name: str, *, given: int = 0, written: int = 0, dropped: int = 0, failed: int = 0) -> None:
        """Adds to the counts of one sink; a frame given waits until it is written, dropped or failed."""
        with self._lock:
            counts = self._sinks[name]
            counts.given += given
            counts.written += written
            counts.dropped += dropped
            counts.failed += failed
            counts.waiting += given - written - dropped - failed

    def snapshot(self) -> Snapshot:
        """All counts of this very moment, as a copy."""
        with self._lock:
            return self._read()

    @staticmethod
    def together(counters: Mapping[Key, Counters], lock: threading.Lock) -> dict[Key, Snapshot]:
        """All counts of several sources of this very moment.

        Args:
            counters: Counts that share the lock.
            lock: That lock.
        """
        with lock:
            return {key: each._read() for key, each in counters.items()}

    def _read(self) -> Snapshot:
        """A copy of all counts; holds the lock."""
        return Snapshot(
            entered=self._entered,
            inspected=self._outcomes["inspected"],
            late=self._outcomes["late"],
            dropped=dict(self._dropped),
            incomplete=self._outcomes["incomplete"],
            never_inspected=self._outcomes["never inspected"],
            failed=self._outcomes["failed"],
            in_flight=self._in_flight,
            detections=self._detections,
            sinks={name: SinkCounts(**vars(counts)) for name, counts in self._sinks.items()},
        )
