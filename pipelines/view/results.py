"""The results so far, kept for the Excel button: bounded memory, the newest rows win."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lineside.runtime.detections import Detections

__all__ = ["MAX_ROWS", "ResultLog", "Row"]

MAX_ROWS = 200_000
"""Rows kept (12 MB); a workbook of that many takes seconds to write, and Excel itself ends at 1,048,576."""

FIELDS = np.dtype(
    [
        ("sequence", "i8"),
        ("file", "i4"),
        ("label", "i4"),
        ("pts", "f8"),
        ("score", "f4"),
        ("box", "f4", (4,)),
        ("area", "i8"),
    ]
)


class Row(NamedTuple):
    """One object of one frame.

    Attributes:
        sequence: The frame's number in the run, from 0.
        file: Name of its file, or of its source.
        pts: Presentation time, seconds.
        name: Class name.
        score: Confidence, 0 to 1.
        box: x0, y0, x1, y1, pixels.
        area: Mask area in pixels; None without masks.
    """

    sequence: int
    file: str
    pts: float
    name: str
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
        self._end = 0
        self._last = 0
        self._words: dict[str, int] = {}

    @property
    def forgotten(self) -> int:
        """How many of the oldest rows are gone."""
        with self._lock:
            return self._start

    def append(self, sequence: int, file: str, pts: float, detections: Detections) -> None:
        """Adds a row for each object of a frame."""
        with self._lock:
            self._append(sequence, file, pts, detections)

    def amend(self, sequence: int, file: str, pts: float, detections: Detections) -> None:
        """Replaces the frame added last: it was inspected again under other thresholds."""
        with self._lock:
            self._end = max(self._start, self._end - self._last)
            self._append(sequence, file, pts, detections)

    def rows(self) -> Iterator[Row]:
        """The rows kept, oldest first, as of this moment."""
        with self._lock:
            kept = self._rows[np.arange(self._start, self._end) % self._capacity]
            words = list(self._words)
        for row in kept:
            x0, y0, x1, y1 = (float(side) for side in row["box"])
            area = int(row["area"])
            yield Row(
                sequence=int(row["sequence"]),
                file=words[int(row["file"])],
                pts=float(row["pts"]),
                name=words[int(row["label"])],
                score=float(row["score"]),
                box=(x0, y0, x1, y1),
                area=area if area >= 0 else None,
            )

    def _append(self, sequence: int, file: str, pts: float, detections: Detections) -> None:
        count = len(detections)
        rows = np.zeros(count, FIELDS)
        rows["sequence"], rows["file"], rows["pts"], rows["area"] = sequence, self._word(file), pts, -1
        rows["label"] = [self._word(detections.names[label]) for label in detections.classes.tolist()]
        rows["score"], rows["box"] = detections.scores, detections.boxes
        if detections.masks is not None:
            rows["area"] = [detections.masks[index].area for index in range(count)]
        self._last = count
        self._grow(self._end + count)
        kept = rows[-self._capacity :]
        self._end += count
        self._rows[np.arange(self._end - len(kept), self._end) % self._capacity] = kept
        self._start = max(self._start, self._end - self._capacity)

    def _word(self, text: str) -> int:
        return self._words.setdefault(text, len(self._words))

    def _grow(self, wanted: int) -> None:
        size = len(self._rows)
        while size < min(wanted, self._capacity):
            size = min(2 * size, self._capacity)
        if size > len(self._rows):
            grown = np.zeros(size, FIELDS)
            grown[: len(self._rows)] = self._rows
            self._rows = grown
