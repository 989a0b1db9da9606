"""The results as an Excel workbook, written with XlsxWriter in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import BinaryIO

import xlsxwriter  # type: ignore[import-untyped]

from lineside.pipelines.view.results import Row

__all__ = ["write_workbook"]

COLUMNS = (
    ("frame", 8),
    ("source", 28),
    ("time s", 10),
    ("class", 16),
    ("score", 8),
    ("x0", 9),
    ("y0", 9),
    ("x1", 9),
    ("y1", 9),
    ("area px", 10),
)
"""Heading and width of each column."""


def write_workbook(rows: Iterable[Row], facts: Mapping[str, str | int | float], target: BinaryIO) -> None:
    """Writes one workbook: a sheet ``results`` with a row per object, a sheet ``run`` with the facts.

    Names come from files and models of others, so every text is written as text: a cell that begins with ``= + - @``
    never becomes a formula, nor an address a link.

    Args:
        rows: The results, oldest first.
        facts: What the sheet ``run`` says, in order.
        target: An open binary file; it is written, not closed.
    """
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "nan_inf_to_errors": True,
    }
    with xlsxwriter.Workbook(target, options) as book:
        bold = book.add_format({"bold": True, "bottom": 1})
        short = book.add_format({"num_format": "0.0"})
        fine = book.add_format({"num_format": "0.000"})
        sheet = book.add_worksheet("results")
        sheet.freeze_panes(1, 0)
        for column, (heading, width) in enumerate(COLUMNS):
            sheet.set_column(column, column, width)
            sheet.write_string(0, column, heading, bold)
        count = 0
        for count, row in enumerate(rows, start=1):
            sheet.write_number(count, 0, row.sequence)
            sheet.write_string(count, 1, row.source)
            sheet.write_number(count, 2, row.pts, fine)
            if row.name is None:
                sheet.write_string(count, 3, "(nothing found)")
                continue
            sheet.write_string(count, 3, row.name)
            sheet.write_number(count, 4, row.score, fine)
            for offset, edge in enumerate(row.box):
                sheet.write_number(count, 5 + offset, edge, short)
            if row.area is not None:
                sheet.write_number(count, 9, row.area)
        sheet.autofilter(0, 0, count, len(COLUMNS) - 1)
        run = book.add_worksheet("run")
        run.set_column(0, 0, 24)
        run.set_column(1, 1, 60)
        for line, (key, value) in enumerate(facts.items()):
            run.write_string(line, 0, key, bold)
            if isinstance(value, str):
                run.write_string(line, 1, value)
            else:
                run.write_number(line, 1, value)
