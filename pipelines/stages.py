"""Where a frame's time goes: one fixed-memory HDR histogram per stage of the stage clock."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lineside.pipelines.frame import CAPTURE, DECIDED, DONE, READ, TAKEN, TRIGGER, Frame
from lineside.runtime.errors import MissingPackage

__all__ = ["LATE_BY", "SERVICE", "STAGES", "TOTAL", "TO_DECISION", "StageClock", "StageStats", "spans"]

SERVICE = "service"
TO_DECISION = "to decision"
TOTAL = "total"
LATE_BY = "late by"

STAGES: dict[str, tuple[str, str]] = {
    "arrival": (TRIGGER, CAPTURE),
    "read": (CAPTURE, READ),
    "queue": (READ, TAKEN),
    "preprocess": (TAKEN, "preprocess"),
    "wait": ("preprocess", "wait"),
    "infer": ("preprocess", "infer"),
    "postprocess": ("infer", "postprocess"),
    "order": ("postprocess", DECIDED),
    "sinks": (DECIDED, DONE),
    SERVICE: (TAKEN, DECIDED),
}
"""Stage to the stamps between which it lies. ``arrival`` is how late a part came after its trigger. ``wait`` is the wait for an engine that another lane uses; where it is
stamped, ``infer`` begins with its end. ``service`` is what most programs print as latency: without any queue.
``to decision`` and ``total`` count from the trigger, or from the capture where nothing triggers. ``late by`` is no stage but
the time from the deadline to the decision, of the late ones alone."""

_LOWEST_NS = 1_000
_HIGHEST_NS = 3_600_000_000_000
_DIGITS = 3


@dataclass(frozen=True)
class StageStats:
    """One row of the latency table; times in milliseconds, percentiles exact to 0.1 %.

    Attributes:
        count: Frames recorded.
        mean: Mean.
        deviation: Standard deviation.
        p50: Median; p90, p99 and p999 likewise.
        max: Longest.
    """

    count: int
    mean: float
    deviation: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float

    def to_dict(self) -> dict[str, Any]:
        """The row as a plain dict, times in ms rounded to a microsecond."""
        return {key: round(value, 3) for key, value in asdict(self).items()}


def spans(clock: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """The stages of `STAGES` that a frame has passed, and its time in each.

    Args:
        clock: A frame's stage clock.

    Yields:
        Name of the stage and nanoseconds.
    """
    for stage, (start, end) in STAGES.items():
        if stage == "infer" and "wait" in clock:
            start = "wait"
        if start in clock and end in clock:
            yield stage, clock[end] - clock[start]


class StageClock:
    """HDR histograms (Tene's high dynamic range histogram) of all stages: memory is fixed, however long a run lasts.

    Raises:
        MissingPackage: The package ``hdrhistogram`` is not installed.
    """

    def __init__(self) -> None:
        try:
            from hdrh.histogram import HdrHistogram
        except ImportError as error:
            raise MissingPackage(
                "the package hdrhistogram is not installed, so latencies cannot be recorded; "
                "install it with: pip install 'lineside[station]'"
            ) from error
        self._lock = threading.Lock()
        stages = (*STAGES, TO_DECISION, TOTAL, LATE_BY)
        self._histograms: dict[str, Any] = {stage: HdrHistogram(_LOWEST_NS, _HIGHEST_NS, _DIGITS) for stage in stages}
        # Sum and sum of squares as whole numbers are exact; the histogram's own mean walks through all its bins.
        self._sums = {stage: [0, 0] for stage in stages}

    def record(self, frame: Frame, deadline_ns: int | None = None) -> None:
        """Takes over the stamps of a frame that is done; stages it did not pass are left out.

        Args:
            frame: The frame.
            deadline_ns: Time that it had from trigger or capture to decision, ns; None for any.
        """
        clock = frame.clock
        begin = clock.get(TRIGGER, clock.get(CAPTURE))
        passed = list(spans(clock))
        if begin is not None and DECIDED in clock:
            passed.append((TO_DECISION, clock[DECIDED] - begin))
            if frame.outcome == "late" and deadline_ns is not None:
                passed.append((LATE_BY, clock[DECIDED] - begin - deadline_ns))
        if begin is not None and DONE in clock:
            passed.append((TOTAL, clock[DONE] - begin))
        with self._lock:
            for stage, span in passed:
                span = min(max(span, 0), _HIGHEST_NS)
                self._histograms[stage].record_value(span)
                sums = self._sums[stage]
                sums[0] += span
                sums[1] += span * span

    @classmethod
    def together(cls, clocks: Iterable[StageClock]) -> StageClock:
        """What several clocks have recorded, as one."""
        whole = cls()
        for clock in clocks:
            with clock._lock:
                for stage, histogram in clock._histograms.items():
                    if histogram.get_total_count():
                        whole._histograms[stage].add(histogram)
                        for place, value in enumerate(clock._sums[stage]):
                            whole._sums[stage][place] += value
        return whole

    def stats(self) -> dict[str, StageStats]:
        """A row for every stage that has been passed, in the order of the way through the graph."""
        with self._lock:
            return {
                stage: _row(it, *self._sums[stage]) for stage, it in self._histograms.items() if it.get_total_count()
            }

    def share_above(self, stage: str, limit_ns: int) -> float:
        """Share of the recorded frames whose time in a stage lies above a limit, in [0, 1]."""
        with self._lock:
            histogram = self._histograms[stage]
            total = histogram.get_total_count()
            if not total:
                return 0.0
            above = sum(
                item.count_at_value_iterated_to
                for item in histogram.get_recorded_iterator()
                if item.value_iterated_to > limit_ns
            )
            return float(above) / float(total)


def _row(histogram: Any, total: int, squares: int) -> StageStats:
    """Reads one histogram; sum and sum of squares come with it."""
    p50, p90, p99, p999 = (histogram.get_value_at_percentile(share) / 1e6 for share in (50, 90, 99, 99.9))
    count = int(histogram.get_total_count())
    return StageStats(
        count=count,
        mean=total / count / 1e6,
        deviation=math.sqrt(count * squares - total * total) / count / 1e6,
        p50=p50,
        p90=p90,
        p99=p99,
        p999=p999,
        max=float(histogram.get_max_value()) / 1e6,
    )
