"""Warnings and errors of a run: said while it runs, and collected for its end."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from lineside.pipelines.events import Event
from lineside.pipelines.ration import FIRST, Ration, with_hidden

__all__ = ["Problems"]

_SAID = {"serving", "mended"}
"""Kinds that are said and no problem of this run: where something is to be found, and what a run before this one left."""


class Problems:
    """Collects warnings and errors from the bus. Of each kind and element the first few are kept; all are said.

    Only what comes more than a hundred times, faster than once a minute, is said once a minute from then on, with the
    number of those that were not.

    Args:
        say: Told each message.
        most: How many of one kind are kept.
        now: Monotonic clock in seconds.

    Attributes:
        messages: What is kept, in the order in which it came.
    """

    def __init__(self, say: Callable[[str], None], most: int = 20, now: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._most = most
        self._now = now
        self._lock = threading.Lock()
        self._kept: Counter[tuple[str, str]] = Counter()
        self._rations: dict[tuple[str, str], Ration] = {}
        self.messages: list[str] = []

    def __call__(self, event: Event) -> None:
        """Listens to one event; of some kinds it is only said."""
        if event.kind in _SAID:
            self._say(event.message)
        if event.kind in _SAID or event.level == "info":
            return
        key, now = (event.element, event.kind), self._now()
        with self._lock:
            if self._kept[key] < self._most:
                self._kept[key] += 1
                self.messages.append(event.message)
            # One more than the bus has for such a kind: what it has rationed already is not cut again.
            hidden = self._rations.setdefault(key, Ration(FIRST + 1, now)).take(now)
        if hidden is not None:
            self._say(with_hidden(event.message, hidden))
