"""How much of a file is whole: what reads and mends files that somebody was cut off from."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["read_lines", "whole_lines", "whole_rows"]


def whole_lines(path: Path) -> int:
    """Bytes that the whole records at the beginning of a file of JSON lines take.

    Whatever a cut leaves is no record: half a line has no end, and a lost block of the disk reads as zeros, which JSON
    allows nowhere.
    """
    return sum(length for length, _ in _lines(path))


def read_lines(path: Path) -> Iterator[Any]:
    """The whole records at the beginning of a file of JSON lines, finished or not."""
    for _, line in _lines(path):
        yield line


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                yield len(line), msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return


def whole_rows(path: Path) -> int:
    """Bytes that the whole rows at the beginning of a CSV file take, its head among them.

    A row is whole when it ends with a line end outside quotes, has as many cells as the head, and holds no zero byte.
    """
    total, columns, row = 0, 0, b""
    with path.open("rb") as file:
        for line in file:
            row += line
            if b"\0" in line:
                return total
            if row.count(b'"') % 2:  # A line end inside quotes: the row goes on.
                continue
            if not row.endswith(b"\r\n"):
                return total
            try:
                cells = next(csv.reader([row.decode()], strict=True))
            except (csv.Error, UnicodeDecodeError, StopIteration):
                return total
            columns = columns or len(cells)
            if len(cells) != columns:
                return total
            total, row = total + len(row), b""
    return total
