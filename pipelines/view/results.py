"""The results so far, kept for the Excel button: bounded memory, newest rows win."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lineside.runtime.detections import Detections

__all__ = ["MAX_ROWS", "ResultLog", "Row"]

MAX_ROWS = 200_000
"""Rows kept (11 MB); a workbook of that many takes seconds to write, and Excel itself ends at 1,048,576."""

FIELDS = np.dtype(
    [
        ("sequence", "i8"),
        ("source", "i4"),
        ("label", "i4"),
        ("pts", "f8"),
        ("score", "f4"),
        ("box", "f4", (4,)),
        ("area", "i8"),
    ]
)


class Row(NamedTuple):
    """One object of one frame, or, with `name` None, one frame in which nothing was found.

    Attributes:
        sequence: The frame's number.
        source: Name of the source.
        pts: Presentation time, seconds.
        name: Class name.
        score: Confidence, 0 to 1.
        box: x0, y0, x1, y1, pixels.
        area: Mask area in pixels; None without masks.
    """

    sequence: int
    source: str
    pts: float
    name: str | None
    score: float
    box: tuple[float, float, float, float]
    area: int | None


class ResultLog:
    """A ring of result rows; every method may be called from any thread.

    Args:
        capacity: Rows kept.
    """

    def __init__(self, capacity: int = MAX_ROWS) -> None:
        self._lock = threading.Lock()
        self._capacity = capacity
        self._rows: npt.NDArray[np.void] = np.zeros(min(1024, capacity), FIELDS)
        self._start = 0
        self._total = 0
        self._last = 0
        self._words: dict[str, int] = {}

    @property
    def forgotten(self) -> int:
        """How many of the oldest rows are gone."""
        with self._lock:
            return self._start

    def append(self, sequence: int, source: str, pts: float, detections: Detections) -> None:
        """Adds one frame: a row per object, or one row that says nothing was found."""
        with self._lock:
            rows = np.zeros(max(1, len(detections)), FIELDS)
            rows["sequence"], rows["source"], rows["pts"] = sequence, self._word(source), pts
            rows["label"], rows["area"] = -1, -1
            for index in range(len(detections)):
                rows["label"][index] = self._word(detections.names[int(detections.classes[index])])
                if detections.masks is not None:
                    rows["area"][index] = detections.masks[index].area
            if len(detections):
                rows["score"], rows["box"] = detections.scores, detections.boxes
            self._last = len(rows)
            for row in rows:
                self._put(row)

    def amend(self, sequence: int, source: str, pts: float, detections: Detections) -> None:
        """Replaces the frame added last: it was inspected again under other thresholds."""
        with self._lock:
            self._total = max(self._start, self._total - self._last)
        self.append(sequence, source, pts, detections)

    def rows(self) -> Iterator[Row]:
        """The rows kept, oldest first, as of this moment."""
        with self._lock:
            order = np.arange(self._start, self._total) % self._capacity
            kept = self._rows[order]
            words = list(self._words)
        for row in kept:
            label, area = int(row["label"]), int(row["area"])
            yield Row(
                sequence=int(row["sequence"]),
                source=words[int(row["source"])],
                pts=float(row["pts"]),
                name=words[label] if label >= 0 else None,
                score=float(row["score"]),
                box=tuple(float(edge) for edge in row["box"]),  # type: ignore[arg-type]
                area=area if area >= 0 else None,
            )

    def _word(self, text: str) -> int:
        return self._words.setdefault(text, len(self._words))

    def _put(self, row: np.void) -> None:
        slot = self._total % self._capacity
        if slot >= len(self._rows):
            grown = np.zeros(min(self._capacity, 2 * len(self._rows)), FIELDS)
            grown[: len(self._rows)] = self._rows
            self._rows = grown
        self._rows[slot] = row
        self._total += 1
        self._start = max(self._start, self._total - self._capacity)
