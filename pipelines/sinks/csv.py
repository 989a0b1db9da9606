"""``results.csv``: a row per detection."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.records import COLUMNS, STATION_COLUMNS, Row, rows, station_rows
from lineside.pipelines.sinks.growing import RecordFile
from lineside.pipelines.sinks.lasting import Lasting
from lineside.pipelines.sinks.part import PartFile
from lineside.pipelines.sinks.segments import Segments
from lineside.pipelines.sinks.whole import whole_rows
from lineside.pipelines.sinks.world import world_of

__all__ = ["Csv", "CsvFile", "make"]


class CsvFile(Lasting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table with a row per detection.

    Attributes:
        path: Name of the file.
    """

    path: str = "results.csv"


def make(options: CsvFile, place: Place) -> Csv:
    """Makes the sink of a station."""
    path = place.path(options.path)
    header = _lines([STATION_COLUMNS])
    segments = Segments(path, options.rules(), whole=whole_rows, header=header, world=world_of(place))
    return Csv(path, segments.open, place.name, station_rows)


class Csv:
    """Writes a row per detection, UTF-8, a comma between cells, quotes where needed (RFC 4180).

    Text that a spreadsheet would take for a formula gets an apostrophe in front. After a kill the rows so far are in
    ``results.csv.part``.

    Args:
        path: Name of the file.
        files: Opens what is written to, its head already in it; None for one file, which has its name when it is
            complete.
        name: Name of the sink, where it is not ``csv``.
        rows: What stands in the table about a frame; `COLUMNS` where nothing is said.
    """

    takes_failed = False

    def __init__(
        self,
        path: Path,
        files: Callable[[], RecordFile] | None = None,
        name: str = "",
        rows: Callable[[Frame], Iterable[Row]] = rows,
    ) -> None:
        self.name = name or "csv"
        self._path = path
        self._open = files
        self._rows = rows
        self._file: RecordFile | None = None

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        if self._open is not None:
            self._file = self._open()
            return
        self._file = PartFile(self._path)
        self._file.write(_lines([COLUMNS]))

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        assert self._file is not None
        lines = _lines([[_cell(value) for value in row] for row in self._rows(frame)])
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
