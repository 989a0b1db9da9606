"""How often the same thing is told: what happens all the time for months must fill neither a disk nor a screen."""

from __future__ import annotations

__all__ = ["FIRST", "Ration", "with_hidden"]

FIRST = 100
"""So many are told before it becomes one a minute."""

_AGAIN = 60.0
"""Seconds for which a thing that happens all the time is not told again."""


class Ration:
    """The first ones are told, then one a minute; a pause earns the first ones back, one for each minute.

    Args:
        first: How many are told before it becomes one a minute.
        now: Monotonic seconds at the beginning.
    """

    def __init__(self, first: int, now: float) -> None:
        self._most = first * _AGAIN
        self._left = self._most  # Seconds to tell with, `_AGAIN` for each time.
        self._since = now
        self._hidden = 0

    def take(self, now: float) -> int | None:
        """Asks for one more. Not for several threads at once.

        Args:
            now: Monotonic seconds.

        Returns:
            How many were not told since the last one that was; None where this one is not to be told either.
        """
        self._left = min(self._most, self._left + now - self._since)
        self._since = now
        if self._left < _AGAIN:
            self._hidden += 1
            return None
        self._left -= _AGAIN
        hidden, self._hidden = self._hidden, 0
        return hidden


def with_hidden(message: str, hidden: int) -> str:
    """A message, with the number of those of its kind that were not told before it."""
    return f"{message} ({hidden} more since the last message)" if hidden else message
