"""How much of a file is whole: what reads and mends files that somebody was cut off from."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["read_lines", "whole_bytes", "whole_lines", "whole_rows"]


def whole_lines(path: Path) -> int:
    """Bytes that the whole records at the beginning of a file of JSON lines take.

    Whatever a cut leaves is no record: half a line has no end, and a lost block of the disk reads as zeros, which JSON
    allows nowhere.
    """
    return whole_bytes(path, msgspec.json.decode)


def whole_bytes(path: Path, decode: Callable[[bytes], object]) -> int:
    """As `whole_lines`, for lines of one kind.

    Args:
        path: The file.
        decode: Decodes a line; raises `msgspec.DecodeError` where it is none of that kind.
    """
    total = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                break
            total += len(line)
    return total


def read_lines(path: Path) -> Iterator[Any]:
    """The whole records at the beginning of a file of JSON lines, finished or not."""
    left = whole_lines(path)
    with path.open("rb") as file:
        for line in file:
            left -= len(line)
            if left < 0:
                return
            yield msgspec.json.decode(line)


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
