"""The newest events of a station, in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from lineside.pipelines.events import Event

__all__ = ["LONGEST", "MOST_EVENTS", "Chronicle"]

MOST_EVENTS = 200
LONGEST = 600
"""Characters of a message that are kept."""
TOGETHER = 120.0
"""Seconds within which the same thing happening again is one entry; longer than the longest wait between two attempts."""

_Kind = tuple[str, str, str]


@dataclass(frozen=True)
class Entry:
    """Something that happened, once or several times.

    Attributes:
        kind: Level, element and kind of the event.
        since: The first time, seconds since 1970.
        when: The newest time.
        text: What was said then, of bounded length; the bus has taken credentials out.
        count: How often.
    """

    kind: _Kind
    since: float
    when: float
    text: str
    count: int = 1


class Chronicle:
    """The newest kinds of events, each with how often it came of late.

    A camera that tries to come back all night thus does not push everything else out. Every method may be called from any
    thread; `hear` needs constant time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[_Kind, int] = {}
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._heard = 0

    def hear(self, event: Event) -> None:
        """Takes an event down; one that repeats another soon after it is counted there, and is the newest again."""
        kind: _Kind = (event.level, event.element, event.kind)
        text = _short(event.message)
        with self._lock:
            self._heard += 1
            before = self._entries.get(self._newest.get(kind, 0))
            if before is None or event.when - before.when >= TOGETHER:
                entry = Entry(kind, event.when, event.when, text)
            else:
                del self._entries[self._newest[kind]]
                entry = Entry(kind, before.since, event.when, text, before.count + 1)
            self._entries[self._heard] = entry
            self._newest[kind] = self._heard
            if len(self._entries) > MOST_EVENTS:
                number, oldest = self._entries.popitem(last=False)
                if self._newest.get(oldest.kind) == number:
                    del self._newest[oldest.kind]

    def told(self) -> list[dict[str, Any]]:
        """The entries as JSON values, newest first.

        Returns:
            For each ``number``, ``when`` (seconds since 1970, the newest time), ``since`` (the first), ``count``,
            ``level``, ``element``, ``kind`` and ``text``.
        """
        with self._lock:
            entries = list(reversed(self._entries.items()))
        return [
            {
                "number": number,
                "when": it.when,
                "since": it.since,
                "count": it.count,
                **dict(zip(("level", "element", "kind"), it.kind, strict=True)),
                "text": it.text,
            }
            for number, it in entries
        ]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
