"""One branch of a station on its page: the newest picture of a source as a model saw it, and how the branch fares."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from lineside.pipelines.counters import Snapshot
from lineside.pipelines.elements import SourceState
from lineside.pipelines.facts import Reach
from lineside.pipelines.frame import CAPTURE, Frame
from lineside.pipelines.view.hub import Hub
from lineside.pipelines.view.meter import Meter
from lineside.pipelines.view.painter import Painter

__all__ = ["Tile"]

PERIODS = 3.0
"""So many periods of its source make a picture old, where that is longer than what was said."""
LAWFUL = ("entered", "inspected", "late", "incomplete", "never_inspected", "failed", "in_flight")


class Tile:
    """What the page knows of one branch. Every method may be called from any thread; `take` needs constant time.

    Args:
        number: Its number on the page, from 0.
        reach: Which branch it is, and its deadline.
        painter: Who encodes its pictures.
        old: Seconds after which a picture counts as old, unless its source is slow.
    """

    def __init__(self, number: int, reach: Reach, painter: Painter, *, old: float) -> None:
        self.number = number
        self.name = reach.name
        self.hub = Hub(painter)
        self._deadline = None if reach.deadline_ns is None else reach.deadline_ns / 1e6
        self._old = old
        self._meter = Meter()
        self._lock = threading.Lock()
        self._captured: int | None = None

    def take(self, frame: Frame) -> None:
        """A frame of this branch has been decided."""
        if frame.pixels is None:
            return
        captured = frame.clock.get(CAPTURE, frame.begin)
        self._meter.take(frame)
        with self._lock:
            self._captured = captured
        self.hub.show(frame, frame.detections, partial(_age, captured))

    def state(self, counts: Snapshot | None, source: SourceState, *, ended: bool) -> dict[str, Any]:
        """Everything the page says about the branch beside its picture, as JSON values.

        Args:
            counts: Its counts; None where nobody counts, because no model looks.
            source: What its source is doing.
            ended: Whether no more frames come.

        Returns:
            ``id``, ``source``, ``model``, ``state``, ``fps``, ``age`` of the newest picture and ``patience`` after which
            it counts as old (s), ``latency`` (ms), ``counters``, ``sinks`` and ``takt``.
        """
        with self._lock:
            captured = self._captured
        age = None if captured is None else _age(captured)["age"]
        period = self._meter.period()
        patience = max(self._old, PERIODS * (period or 0.0))
        fps = self._meter.rate(ended)
        if fps is None and period and age is not None and age <= patience:
            fps = 1 / period  # fewer than one in the time that the rate looks at
        return {
            "id": self.number,
            "source": self.name.source,
            "model": self.name.model,
            "state": source,
            "fps": fps,
            "age": age,
            "patience": patience,
            "latency": self._meter.latency(),
            "counters": None if counts is None else _counters(counts),
            "sinks": {} if counts is None else {name: vars(it) for name, it in counts.sinks.items()},
            "takt": None if self._deadline is None or counts is None else self._takt(counts, self._deadline),
        }

    def _takt(self, counts: Snapshot, deadline: float) -> dict[str, Any]:
        """How the branch keeps its deadline, in ms: all that have no decision in time, and how late the late ones are."""
        return {
            "deadline": deadline,
            "missed": counts.late + counts.lost,
            "lateness": self._meter.lateness(deadline),
        }


def _counters(counts: Snapshot) -> dict[str, Any]:
    return {
        **{name: getattr(counts, name) for name in LAWFUL},
        "dropped": counts.dropped,
        "detections": counts.detections,
        "balanced": counts.balanced,
    }


def _age(captured: int) -> Mapping[str, float]:
    """How old a picture is, seconds; told with it at the moment it is encoded."""
    return {"age": max(0.0, (time.monotonic_ns() - captured) / 1e9)}
