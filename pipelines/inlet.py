"""Several queues with the same takers: who is served next, and how many at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lineside.pipelines.frame import Frame
from lineside.pipelines.link import Gate, Link, Policy

__all__ = ["Inlet", "Order"]

Order = Literal["turns", "priority"]
"""Who is served next: each in turn, or the most urgent first and its equals in turn."""


@dataclass(frozen=True)
class _Entry:
    """One queue of an inlet."""

    link: Link
    priority: int
    ready: Callable[[], bool] | None


class Inlet:
    """Queues of several senders in front of the same takers. No sender can keep another one's frames from being taken.

    Args:
        order: Who is served next.
        now: Monotonic clock in ns.
    """

    def __init__(self, order: Order = "turns", now: Callable[[], int] = time.monotonic_ns) -> None:
        self._gate = Gate()
        self._order = order
        self._now = now
        self._entries: list[_Entry] = []
        self._turn = 0

    def join(
        self,
        name: str,
        policy: Policy,
        displaced: Callable[[Frame], None],
        *,
        taking: Callable[[Frame], None] | None = None,
        ready: Callable[[], bool] | None = None,
        priority: int = 0,
    ) -> Link:
        """Adds a sender; before anything is taken.

        Args:
            name: See `Link`, and so are the next three.
            policy: What happens when its queue is full.
            displaced: Gets what a newer frame pushes out.
            taking: Told each frame that is taken.
            ready: Whether a frame of this sender may be taken now; see `wake`.
            priority: How urgent it is, the higher the more; where the order is by priority.
        """
        link = Link(name, policy, displaced, gate=self._gate, taking=taking)
        self._entries.append(_Entry(link, priority, ready))
        return link

    def take(self, most: int = 1, *, wait: bool = True, patience_ns: int = 0) -> list[tuple[Link, Frame]]:
        """Takes the next frames.

        Args:
            most: No more than so many.
            wait: Wait for the first one.
            patience_ns: Once there is one, wait so long for more.

        Returns:
            Frames with the queues that they come from, in the order of taking. None where there is nothing (``wait=False``),
            or nothing any more: all senders have closed.
        """
        found: list[tuple[Link, Frame]] = []
        with self._gate.lock:
            until = None
            while len(found) < most:
                entry = self._next()
                if entry is not None:
                    frame = entry.link.pop()
                    assert frame is not None, "the queue has frames and nobody else holds the lock"
                    found.append((entry.link, frame))
                    continue
                if not wait or self._ended():
                    break
                if found:
                    until = until or self._now() + patience_ns
                    left = until - self._now()
                    if left <= 0:
                        break
                    self._gate.filled.wait(left / 1e9)
                else:
                    self._gate.filled.wait()
        return found

    def _next(self) -> _Entry | None:
        """The sender whose turn it is, among those that have something; holds the lock."""
        count = len(self._entries)
        best: tuple[int, int] | None = None
        for step in range(count):
            place = (self._turn + step) % count
            entry = self._entries[place]
            if not len(entry.link) or (entry.ready is not None and not entry.ready()):
                continue
            if best is None or (self._order == "priority" and entry.priority > best[0]):
                best = (entry.priority, place)
            if self._order == "turns":
                break
        if best is None:
            return None
        self._turn = (best[1] + 1) % count
        return self._entries[best[1]]

    def _ended(self) -> bool:
        return all(entry.link.closed and not len(entry.link) for entry in self._entries)

    def wake(self) -> None:
        """Says that a sender may have become ready."""
        with self._gate.lock:
            self._gate.filled.notify_all()

    def close(self) -> None:
        """Closes all queues; what is in them can still be taken."""
        for entry in self._entries:
            entry.link.close()
