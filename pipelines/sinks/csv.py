"""``results.csv``: a row per detection."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.records import COLUMNS, rows
from lineside.pipelines.sinks.part import PartFile

__all__ = ["Csv"]


class Csv:
    """Writes the columns of `COLUMNS`, UTF-8, a comma between cells, quotes where needed (RFC 4180).

    Text that a spreadsheet would take for a formula gets an apostrophe in front. After a kill the rows so far are in
    ``results.csv.part``.

    Args:
        path: Name of the file.
    """

    name = "csv"
    takes_failed = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: PartFile | None = None

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        self._file = PartFile(self._path)
        self._file.write(_lines([COLUMNS]))

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        assert self._file is not None
        lines = _lines([[_cell(value) for value in row] for row in rows(frame)])
        if lines:
            self._file.write(lines)

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`."""
        if self._file is not None:
            self._file.finish(missing)


def _lines(table: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(table)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    """Text that no spreadsheet runs as a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
