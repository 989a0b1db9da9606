"""The newest events of a station, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from lineside.pipelines.events import Event
from lineside.pipelines.secrets import redacted

__all__ = ["MOST_EVENTS", "Chronicle"]

MOST_EVENTS = 200
LONGEST = 600
"""Characters of a message that are kept."""
TOGETHER = 60.0
"""Seconds within which the same thing happening again is one entry."""


@dataclass
class Entry:
    """Something that happened, once or several times in a row.

    Attributes:
        number: Counts the entries of a run.
        first: The first time.
        last: The newest time.
        text: What was said then, without credentials and of bounded length.
        count: How often.
    """

    number: int
    first: Event
    last: Event
    text: str
    count: int = 1


class Chronicle:
    """A ring of events. Every method may be called from any thread and needs constant time, `told` apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=MOST_EVENTS)
        self._heard = 0

    def hear(self, event: Event) -> None:
        """Takes an event down; one that repeats the newest entry is counted there."""
        text = _short(redacted(event.message))
        with self._lock:
            newest = self._entries[-1] if self._entries else None
            if newest is not None and _same(newest.last, event):
                newest.last, newest.text, newest.count = event, text, newest.count + 1
                return
            self._heard += 1
            self._entries.append(Entry(self._heard, event, event, text))

    def told(self) -> list[dict[str, Any]]:
        """The entries as JSON values, newest first.

        Returns:
            For each ``number``, ``when`` (seconds since 1970, the newest time), ``since`` (the first), ``count``,
            ``level``, ``element``, ``kind`` and ``text``.
        """
        with self._lock:
            entries = [(it.number, it.first.when, it.last, it.text, it.count) for it in reversed(self._entries)]
        return [
            {
                "number": number,
                "when": last.when,
                "since": first,
                "count": count,
                "level": last.level,
                "element": last.element,
                "kind": last.kind,
                "text": text,
            }
            for number, first, last, text, count in entries
        ]


def _same(before: Event, after: Event) -> bool:
    """Whether two events say the same thing of the same element, one soon after the other."""
    return (
        (before.level, before.element, before.kind) == (after.level, after.element, after.kind)
        and after.when - before.when < TOGETHER
    )  # fmt: skip


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
