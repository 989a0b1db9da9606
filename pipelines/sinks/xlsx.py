"""``results.xlsx``: a workbook for people, with a summary and a row per detection."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.records import COLUMNS, rows
from lineside.pipelines.sinks.part import part_name, put_in_place
from lineside.pipelines.sinks.steady import SteadyFile
from lineside.runtime.errors import MissingPackage, SinkError

__all__ = ["Xlsx"]

_LAST_ROW = 1_048_576
"""Rows of a sheet in the file format."""
_TITLES = {
    "frame": "Frame",
    "file": "File",
    "time_s": "Time (s)",
    "class": "Class no.",
    "name": "Class",
    "score": "Score",
    "x0": "Left (px)",
    "y0": "Top (px)",
    "x1": "Right (px)",
    "y1": "Bottom (px)",
    "width": "Width (px)",
    "height": "Height (px)",
    "mask_area": "Mask area (px²)",
    "track": "Track",
    "source": "Source",
    "model": "Model",
    "outcome": "Outcome",
    "wall": "Taken (s since 1970)",
    "trigger": "Trigger",
    "part": "Part",
    "encoder": "Encoder",
}
_FORMATS = {"time_s": "0.000", "score": "0.0000", "mask_area": "#,##0", "wall": "0.000"}
_PIXELS = "0.00"


class Xlsx:
    """Writes rows as they come, in constant memory; a full sheet is followed by another.

    All text is written as text, never as a formula or link. The file gets its name when it is complete.

    Args:
        path: Name of the file.
        bundle: Name of the bundle, for the summary.
        columns: Head of the table; it begins with `COLUMNS`.
    """

    name = "xlsx"
    takes_failed = True

    def __init__(self, path: Path, bundle: str = "", columns: Sequence[str] = COLUMNS) -> None:
        self._path = path
        self._bundle = bundle
        self._columns = columns
        self._stream: StreamInfo | None = None
        self._book: Any = None
        self._file: SteadyFile | None = None
        self._broken = False
        self._sheet: Any = None
        self._row = 0
        self._sheets = 0
        self._frames = 0
        self._failed = 0
        self._classes: Counter[str] = Counter()
        self._span: tuple[float, float | None] = (0.0, None)

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`.

        Raises:
            MissingPackage: XlsxWriter is not installed.
            SinkError: The folder cannot be made.
        """
        try:
            import xlsxwriter
        except ImportError as error:
            raise MissingPackage(
                "XlsxWriter is not installed, so no Excel file can be written; "
                "install it with: pip install 'lineside[station]'"
            ) from error
        self._stream = stream
        self._span = (time.time(), None)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = SteadyFile(part_name(self._path), "xb")
            self._rows = tempfile.TemporaryDirectory(
                prefix=f"{self._path.name}.", suffix=".part", dir=self._path.parent, ignore_cleanup_errors=True
            )
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}; name another place with --out") from error
        options = {
            "constant_memory": True,
            "tmpdir": self._rows.name,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        }
        self._book = xlsxwriter.Workbook(self._file, options)
        self._bold = self._book.add_format({"bold": True, "bg_color": "#E8EEF4", "bottom": 1})
        self._text = self._book.add_format({"quote_prefix": True})
        self._summary = self._book.add_worksheet("Summary")
        self._cells = {
            name: self._book.add_format({"num_format": _FORMATS.get(name, _PIXELS)}) for name in self._columns
        }
        self._next_sheet()

    def _next_sheet(self) -> None:
        self._sheets += 1
        sheet = self._book.add_worksheet("Detections" if self._sheets == 1 else f"Detections {self._sheets}")
        for column, name in enumerate(self._columns):
            sheet.set_column(column, column, 36 if name == "file" else max(10, len(_TITLES[name]) + 2))
            sheet.write_string(0, column, _TITLES[name], self._bold)
        sheet.freeze_panes(1, 0)
        self._sheet, self._row = sheet, 1

    def write(self, frame: Frame) -> None:
        """See `Sink.write`.

        Raises:
            SinkError: The disk says no, now or before: half a row cannot be taken back.
        """
        self.add([] if frame.error is not None else list(rows(frame)), failed=frame.error is not None)

    def add(
        self, found: Sequence[Sequence[int | float | str | None]], *, failed: bool, wall: float | None = None
    ) -> None:
        """Takes what was found on one frame.

        Args:
            found: A row under the columns for each detection.
            failed: Whether the frame could not be inspected.
            wall: When it was captured, in seconds since 1970; the first and the last stand in the summary. None for now.

        Raises:
            SinkError: As for `write`.
        """
        if self._broken:
            raise SinkError(f"cannot write {self._path}: an earlier row could not be written")
        if wall is not None:
            self._span = (self._span[0] if self._frames else wall, wall)
        self._frames += 1
        self._failed += failed
        try:
            for row in found:
                if self._row == _LAST_ROW:
                    self._next_sheet()
                self._write_row(row)
                self._classes[str(row[COLUMNS.index("name")])] += 1
        except OSError as error:
            self._broken = True
            raise _refused(self._path, error.strerror or error) from error

    def _write_row(self, row: Sequence[int | float | str | None]) -> None:
        for column, (name, value) in enumerate(zip(self._columns, row, strict=True)):
            if isinstance(value, str):
                self._sheet.write_string(self._row, column, value, self._text)
            elif isinstance(value, int):
                self._sheet.write_number(self._row, column, value)
            elif value is not None:
                self._sheet.write_number(self._row, column, value, self._cells[name])
        self._row += 1

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`. A workbook that could not be finished is removed: nothing can open it.

        Raises:
            SinkError: The disk says no.
        """
        if self._book is None or self._file is None:
            return
        part = part_name(self._path)
        try:
            self._finish(self._file)
        except SinkError:
            part.unlink(missing_ok=True)
            raise
        finally:
            self._file.close()
            self._rows.cleanup()
            self._book = None
        if self._broken:
            part.unlink(missing_ok=True)
        elif not missing:
            put_in_place(part, self._path)

    def _finish(self, file: SteadyFile) -> None:
        """Puts the sheets together."""
        try:
            self._summarise()
            self._book.close()
        except Exception as error:  # XlsxWriter wraps the system's errors in its own.
            if not self._broken:
                raise _refused(self._path, error) from error
            return
        if file.failure is not None and not self._broken:
            raise _refused(self._path, file.failure.strerror or file.failure) from file.failure

    def _summarise(self) -> None:
        """Fills the first sheet, and puts a filter on a table that fits one sheet."""
        assert self._stream is not None
        lines: list[tuple[str, str | int]] = [
            ("Bundle", self._bundle),
            ("Source", self._stream.name),
            ("Started", _written(self._span[0])),
            ("Finished", _written(self._span[1])),
            ("Frames inspected", self._frames - self._failed),
            ("Frames failed", self._failed),
            ("Detections", sum(self._classes.values())),
            *((f"  {name}", count) for name, count in sorted(self._classes.items())),
        ]
        self._summary.set_column(0, 0, 24)
        self._summary.set_column(1, 1, 48)
        for row, (label, value) in enumerate(lines):
            self._summary.write_string(row, 0, label, self._bold)
            if isinstance(value, str):
                self._summary.write_string(row, 1, value, self._text)
            else:
                self._summary.write_number(row, 1, value)
        last = (self._row - 1 if self._sheets == 1 else 0, len(self._columns) - 1)
        if last[0]:
            self._sheet.autofilter(0, 0, *last)


def _written(when: float | None) -> str:
    """A moment as people here write it; None is now."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


def _refused(path: Path, reason: object) -> SinkError:
    return SinkError(f"cannot write {path}: {reason}; free some space or name another place with --out")
