"""The bus: what happened in the graph, told to whoever listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from lineside.pipelines.elements import FAULTS, reason
from lineside.pipelines.ration import FIRST, Ration, with_hidden
from lineside.pipelines.secrets import redacted

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
    """Hands each event to every listener, in the thread it happened in.

    Args:
        now: Monotonic clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._listeners: list[Callable[[Event], None]] = []
        self._often: dict[tuple[str, str], Ration] = {}
        self._now = now
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
        """Tells every listener, without credentials.

        A listener that fails is taken off, and the others are told so once; it never stops the graph.
        """
        left = [Event(level, element, kind, redacted(message))]
        while left:
            event = left.pop(0)
            with self._lock:
                listeners = list(self._listeners)
            left += [lost for listener in listeners if (lost := self._tell(listener, event)) is not None]

    def often(self, level: Level, element: str, kind: str, message: str, *, first: int = FIRST) -> None:
        """Tells what may happen with every frame, so that a fault of months fills no disk.

        The first ones of a kind are told, then one a minute, which says how many were not.

        Args:
            level: See `Event`, and so are the next three.
            element: Its name.
            kind: The kind.
            message: The sentence.
            first: How many are told before it becomes one a minute; a pause earns them back, one for each minute.
        """
        now = self._now()
        with self._lock:
            hidden = self._often.setdefault((element, kind), Ration(first, now)).take(now)
        if hidden is not None:
            self.emit(level, element, kind, with_hidden(message, hidden))

    def _tell(self, listener: Callable[[Event], None], event: Event) -> Event | None:
        """Tells one listener; returns what is to be told of it where it fails and was not taken off already."""
        try:
            listener(event)
        except FAULTS as error:
            with self._lock:
                if listener not in self._listeners:
                    return None
                self._listeners.remove(listener)
            name = getattr(listener, "__qualname__", type(listener).__name__)
            text = (
                f"{name}, which listens to events, failed at '{event.kind}' and hears no more of them: {reason(error)}"
            )
            return Event("error", "events", "listener failed", redacted(text))
        return None
