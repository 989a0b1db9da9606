"""The results as an Excel workbook, written with XlsxWriter in constant memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from typing import BinaryIO

import xlsxwriter
from xlsxwriter.exceptions import FileCreateError

from lineside.pipelines.view.results import Row

__all__ = ["write_workbook"]

COLUMNS = (
    ("Frame", 9, "0"),
    ("File", 32, ""),
    ("Time (s)", 11, "0.000"),
    ("Class", 18, ""),
    ("Score", 10, "0.0000"),
    ("Left (px)", 12, "0.00"),
    ("Top (px)", 12, "0.00"),
    ("Right (px)", 12, "0.00"),
    ("Bottom (px)", 12, "0.00"),
    ("Width (px)", 12, "0.00"),
    ("Height (px)", 12, "0.00"),
    ("Mask area (px²)", 17, "#,##0"),
)
"""Heading, width and number format of each column."""

OPTIONS = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}


def write_workbook(rows: Iterable[Row], facts: Mapping[str, str | int | float], target: BinaryIO) -> None:
    """Writes one workbook: a sheet ``Detections`` with a row per object, a sheet ``Summary`` with the facts.

    Names come from files and models of others, so all text is written as text: a cell that begins with ``= + - @``
    never becomes a formula, nor an address a link, not even when somebody edits it later.

    Args:
        rows: The results, oldest first.
        facts: What the summary says, in order.
        target: An open binary file; it is written, not closed.

    Raises:
        OSError: The disk that holds the temporary files says no.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="lineside-", ignore_cleanup_errors=True) as scratch:
            _write(rows, facts, target, scratch)
    except FileCreateError as error:  # XlsxWriter's own wrapping of the system's error
        raise error.args[0] if isinstance(error.args[0], OSError) else OSError(str(error)) from error


def _write(rows: Iterable[Row], facts: Mapping[str, str | int | float], target: BinaryIO, scratch: str) -> None:
    with xlsxwriter.Workbook(target, {**OPTIONS, "tmpdir": scratch}) as book:
        bold = book.add_format({"bold": True, "bg_color": "#E8EEF4", "bottom": 1})
        text = book.add_format({"quote_prefix": True})
        sheet = book.add_worksheet("Detections")
        sheet.freeze_panes(1, 0)
        formats = []
        for column, (heading, width, number) in enumerate(COLUMNS):
            sheet.set_column(column, column, width)
            sheet.write_string(0, column, heading, bold)
            formats.append(book.add_format({"num_format": number}) if number else text)
        count = 0
        for count, row in enumerate(rows, start=1):
            for column, value in enumerate(cells(row)):
                if isinstance(value, str):
                    sheet.write_string(count, column, value, formats[column])
                elif value is not None:
                    sheet.write_number(count, column, value, formats[column])
        sheet.autofilter(0, 0, count, len(COLUMNS) - 1)
        summary = book.add_worksheet("Summary")
        summary.set_column(0, 0, 26)
        summary.set_column(1, 1, 48)
        for line, (label, value) in enumerate(facts.items()):
            summary.write_string(line, 0, label, bold)
            if isinstance(value, str):
                summary.write_string(line, 1, value, text)
            else:
                summary.write_number(line, 1, value)


def cells(row: Row) -> tuple[str | float | None, ...]:
    """The values of one row under `COLUMNS`."""
    x0, y0, x1, y1 = row.box
    return (row.sequence, row.file, row.pts, row.name, row.score, x0, y0, x1, y1, x1 - x0, y1 - y0, row.area)
