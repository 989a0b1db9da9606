"""How fast a branch is just now: rate, latency and lateness of its newest frames, in fixed memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice, pairwise
from statistics import median

import numpy as np

from lineside.pipelines.frame import DECIDED, Frame

__all__ = ["Meter", "percentiles", "rate"]

WINDOW = 600
"""Frames over which rate and latency are shown."""
FRESH_NS = 3_000_000_000
"""Frames older than this no longer count for the rate."""
GAPS = 21
"""Newest gaps between frames, whose median is the period."""


class Meter:
    """Moments and ages of the newest frames. Every method may be called from any thread; `take` needs constant time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ages: deque[float] = deque(maxlen=WINDOW)
        self._decided: deque[int] = deque(maxlen=WINDOW)

    def take(self, frame: Frame) -> None:
        """A frame has been decided."""
        decided = frame.clock.get(DECIDED, time.monotonic_ns())
        with self._lock:
            self._decided.append(decided)
            self._ages.append((decided - frame.begin) / 1e6)

    def rate(self, ended: bool = False) -> float | None:
        """Frames per second just now; over all frames that are remembered where no more come."""
        with self._lock:
            decided = list(self._decided)
        return rate(decided, None if ended else time.monotonic_ns())

    def period(self) -> float | None:
        """Usual time between two frames, seconds; None where fewer than two came."""
        with self._lock:
            newest = list(islice(reversed(self._decided), GAPS + 1))
        gaps = [(after - before) / 1e9 for after, before in pairwise(newest)]
        return median(gaps) if gaps else None

    def latency(self) -> dict[str, float | None]:
        """Time from trigger or capture to decision, ms: ``p50`` and ``p99``."""
        with self._lock:
            ages = list(self._ages)
        return percentiles(ages)

    def lateness(self, deadline_ms: float) -> dict[str, float | None]:
        """By how much late frames were late, ms: ``p50`` and ``p99``; None where none was."""
        with self._lock:
            late = [age - deadline_ms for age in self._ages if age > deadline_ms]
        return percentiles(late)


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """Median and 99th percentile; None each where there are no values."""
    p50, p99 = (float(value) for value in np.percentile(values, (50, 99))) if values else (None, None)
    return {"p50": p50, "p99": p99}


def rate(moments: Sequence[int], now: int | None) -> float | None:
    """Frames per second.

    Args:
        moments: When frames were decided, monotonic ns, in order.
        now: Only frames of the last seconds before this count, and a pause pulls the rate down; None for all.

    Returns:
        The rate; None where fewer than two frames count.
    """
    if now is not None:
        moments = [moment for moment in moments if now - moment <= FRESH_NS]
    if len(moments) < 2:
        return None
    end = moments[-1] if now is None else max(moments[-1], now - (moments[-1] - moments[0]) // (len(moments) - 1))
    return (len(moments) - 1) * 1e9 / max(1, end - moments[0])
