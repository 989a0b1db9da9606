"""When results are forced onto the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Syncer"]


class Syncer:
    """Runs an action within a bounded time after something was written, in a thread of its own.

    A sync may take seconds on a slow disk; in its own thread it holds up neither the sink nor the next write, and what
    was written right before the line stood still is synced too.

    Args:
        interval: Seconds from a `touch` to the action at most, besides the time it takes itself. 0: the action runs
            inside every `touch`. None: never.
        action: What to do; it deals with its own errors.
        name: Name of the thread.
    """

    def __init__(self, interval: float | None, action: Callable[[], None], name: str) -> None:
        self._interval = interval
        self._action = action
        self._name = name
        self._touched = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def touch(self) -> None:
        """Something was written."""
        if self._interval is None or self._stopping.is_set():
            return
        if self._interval == 0:
            self._action()
            return
        self._touched.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"sync {self._name}", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._touched.wait()
            self._stopping.wait(self._interval)
            if self._stopping.is_set():
                return
            self._touched.clear()  # Before the action: what is written meanwhile is for the next one.
            self._action()

    def close(self) -> None:
        """Ends the thread, without a last action. Safe to call twice."""
        self._stopping.set()
        self._touched.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
