"""The one thread that encodes pictures, for all the hubs of a page: what watching costs is bounded in one place."""

from __future__ import annotations

import threading
import time
from typing import Protocol

__all__ = ["Painted", "Painter"]


class Painted(Protocol):
    """Somebody whose pictures are painted."""

    def due(self) -> float | None:
        """When its next picture is due, monotonic seconds; None where nobody waits for one. Called with the lock."""
        ...

    def paint(self) -> None:
        """Encodes that picture and sends it off. Called without the lock."""
        ...


class Painter:
    """Paints whatever has been due for longest.

    Args:
        share: Share of one core that painting may use at most, in (0, 1].

    Attributes:
        changed: Lock of all hubs, notified when a picture may have become due.
    """

    def __init__(self, share: float = 1.0) -> None:
        self.changed = threading.Condition()
        self._rest = 1.0 / share - 1.0
        self._served: list[Painted] = []
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="lineside-view-painter", daemon=True)

    def serve(self, hub: Painted) -> None:
        """Takes on a hub; before the start."""
        self._served.append(hub)

    def start(self) -> None:
        """Starts to paint."""
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Stops after the picture in hand, waiting no longer than `timeout` seconds. Safe to call twice."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _work(self) -> None:
        while (hub := self._next()) is not None:
            begin = time.monotonic()
            hub.paint()
            pause = (time.monotonic() - begin) * self._rest
            with self.changed:
                self.changed.wait_for(lambda: self._closed, timeout=pause)

    def _next(self) -> Painted | None:
        """Waits until a picture is due; None once it is closed."""
        with self.changed:
            while not self._closed:
                dues = [(due, number) for number, hub in enumerate(self._served) if (due := hub.due()) is not None]
                due, number = min(dues, default=(None, 0))
                wait = None if due is None else due - time.monotonic()
                if wait is not None and wait <= 0:
                    return self._served[number]
                self.changed.wait(wait)
            return None
