"""The bus: what happened in the graph, told to whoever listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Bus", "Event", "Level"]

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        level: How bad it is.
        element: Name of the element it happened in.
        kind: Short fixed word, for programs: ``started``, ``ended``, ``frame failed``, ``overflow``, ``hung`` …
        message: One sentence, for people.
        when: Wall-clock time in seconds since 1970.
    """

    level: Level
    element: str
    kind: str
    message: str
    when: float = field(default_factory=time.time)


class Bus:
    """Hands each event to every listener, in the thread it happened in."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event], None]] = []
        self._lock = threading.Lock()

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Adds a listener, which must return quickly and may be called from any thread.

        Returns:
            A function that takes the listener off again.
        """
        with self._lock:
            self._listeners.append(listener)

        def leave() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return leave

    def emit(self, level: Level, element: str, kind: str, message: str) -> None:
        """Tells every listener. A listener that fails is taken off; it never stops the graph."""
        event = Event(level, element, kind, message)
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            self._tell(listener, event)

    def _tell(self, listener: Callable[[Event], None], event: Event) -> None:
        try:
            listener(event)
        except Exception:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)
