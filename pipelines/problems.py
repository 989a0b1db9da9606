"""Warnings and errors of a run, collected for its end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lineside.pipelines.events import Event

__all__ = ["Problems"]

_SAID = {"serving", "mended"}
"""Kinds that are said and no problem of this run: where something is to be found, and what a run before this one left."""


class Problems:
    """Collects warnings and errors from the bus; of each kind and element the first few are kept.

    Args:
        say: Told each message that is kept, and once that there are more.
        most: How many of one kind are kept.
    """

    def __init__(self, say: Callable[[str], None], most: int = 20) -> None:
        self._say = say
        self._most = most
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], int] = {}
        self.messages: list[str] = []

    def __call__(self, event: Event) -> None:
        """Listens to one event; of some kinds it is only said."""
        if event.kind in _SAID:
            self._say(event.message)
        if event.kind in _SAID or event.level == "info":
            return
        key = (event.element, event.kind)
        with self._lock:
            number = self._seen[key] = self._seen.get(key, 0) + 1
            if number <= self._most:
                self.messages.append(event.message)
        if number <= self._most:
            self._say(event.message)
        elif number == self._most + 1:
            self._say(f"more of the same kind ({event.kind}) is counted but not shown")
