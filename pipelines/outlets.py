"""From a decided frame to the sinks: who gets it, what their queues gave up, and when the last one is through with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from lineside.pipelines.counters import Counters
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import DONE, Frame
from lineside.pipelines.inlet import Inlet
from lineside.pipelines.link import Link, Policy

__all__ = ["Outlets"]


class Outlets:
    """The queues from one place to its sinks, with their counts.

    Args:
        name: Name of the place, for events.
        counters: Where it is counted.
        done: Told each frame that the last sink is through with, before its pixels go back.
        bus: Where events go.
        now: Monotonic clock in ns.
    """

    def __init__(
        self,
        name: str,
        counters: Counters,
        done: Callable[[Frame], None],
        *,
        bus: Bus,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.links: dict[str, Link] = {}
        self._name = name
        self._bus = bus
        self._takes_failed: set[str] = set()
        self._counters = counters
        self._report = done
        self._now = now

    def join(self, name: str, inlet: Inlet, policy: Policy, *, takes_failed: bool = False) -> Link:
        """Adds a sink.

        Args:
            name: Name of the sink.
            inlet: Where it takes its frames.
            policy: What the queue in front of it does when it is full.
            takes_failed: Whether it also gets frames without a result.

        Returns:
            Its queue.
        """
        link = self.links[name] = inlet.join(name, policy, partial(self._lost, name))
        if takes_failed:
            self._takes_failed.add(name)
        return link

    def room(self) -> bool:
        """Whether every queue that may not give anything up has a free place, or is closed."""
        return not any(it.policy.kind == "every" and it.full and not it.closed for it in self.links.values())

    def give(self, frame: Frame, *, failed: bool = False) -> None:
        """Hands a frame to the sinks; never waits.

        Args:
            frame: The frame.
            failed: It has no result: only sinks that want such frames get it.
        """
        names = [name for name in self.links if not failed or name in self._takes_failed]
        if not names:
            self._done(frame)
            return
        frame.give(len(names))
        for name in names:
            self._counters.sink(name, given=1)
            link = self.links[name]
            if link.offer(frame):
                continue
            self._lost(name, frame)
            if not link.closed:
                self._bus.often(
                    "error",
                    name,
                    "overflow",
                    f"{name}: the queue of {link.policy.depth} frames from {self._name} is full: results are lost "
                    "although every one should be kept; the sink is slower than the source",
                    first=1,
                )

    def written(self, frame: Frame, sink: str, error: str | None = None) -> None:
        """A sink is through with a frame.

        Args:
            frame: The frame.
            sink: Name of the sink.
            error: Why it could not be written; None where it was.
        """
        frame.stamp(f"sink {sink}", self._now())
        if error is None:
            self._counters.sink(sink, written=1)
        else:
            self._counters.sink(sink, failed=1)
        self._left(frame)

    def _lost(self, sink: str, frame: Frame) -> None:
        """A sink's queue gave a frame up."""
        self._counters.sink(sink, dropped=1)
        self._left(frame)

    def _left(self, frame: Frame) -> None:
        if frame.taken_back():
            self._done(frame)

    def _done(self, frame: Frame) -> None:
        frame.stamp(DONE, self._now())
        self._report(frame)
        frame.release()

    def close(self) -> None:
        """Says that no more frames come."""
        for link in self.links.values():
            link.close()

    def abandon(self) -> None:
        """Gives up what still waits in the queues."""
        for name, link in self.links.items():
            for frame in link.abandon():
                self._lost(name, frame)
