"""The clock by which results grow old: one that does not believe at once that a month has gone by."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Ages"]

_STEP = 60.0
"""Seconds by which a wall clock may run ahead of the monotonic one before it counts as set."""
_BELIEVED = 3600.0
"""Seconds for which a clock that was set ahead has to stay so before anything is removed by it."""


class Ages:
    """Wall-clock time for the ages of results.

    What is removed cannot be brought back, and a clock may be set wrong for a while: by a time server that is wrong
    itself, by a hand, or because a machine without a battery for its clock had started too early. So a clock that was set
    ahead counts only once it has stood there for an hour; until then ages go on by the monotonic clock. One that was set
    back counts at once: nothing is older for it.

    Args:
        now: Wall clock in seconds since 1970.
        steady: Monotonic clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._steady = steady
        self._offset = now() - steady()
        self._ahead: tuple[float, float] | None = None  # What the wall clock says instead, and since when.

    def __call__(self) -> float:
        """The time by which ages count, in seconds since 1970."""
        steady = self._steady()
        offset = self._now() - steady
        if offset - self._offset <= _STEP:
            self._offset, self._ahead = offset, None
        elif self._ahead is None or abs(offset - self._ahead[0]) > _STEP:
            self._ahead = (offset, steady)
        elif steady - self._ahead[1] >= _BELIEVED:
            self._offset, self._ahead = offset, None
        return steady + self._offset
