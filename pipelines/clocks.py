"""The wall clock and the monotonic one, compared."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["monotonic_of"]

_CLOSE = 50_000
"""So many ns between two looks at a clock are no interruption."""
_TRIES = 5


def monotonic_of(
    wall: int,
    *,
    steady: Callable[[], int] = time.monotonic_ns,
    clock: Callable[[], int] = time.time_ns,
) -> int:
    """Monotonic time of a moment of the wall clock.

    A busy machine may interrupt a program between a look at one clock and a look at the other, for as long as a picture
    takes. So the wall clock is read between two looks at the monotonic one, again where these lie far apart.

    Args:
        wall: The moment, ns since 1970.
        steady: The monotonic clock, ns.
        clock: The wall clock, ns.

    Returns:
        The same moment in monotonic ns, right within half of the shortest span between two such looks.
    """
    best, shift = -1, 0
    for _ in range(_TRIES):
        before, now, after = steady(), clock(), steady()
        if best < 0 or after - before < best:
            best, shift = after - before, (before + after) // 2 - now
        if best <= _CLOSE:
            break
    return wall + shift
