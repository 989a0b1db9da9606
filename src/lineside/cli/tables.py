"""Tables on stdout, with rich on a terminal and the same lines without colour elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["print_table", "size_text"]


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table.

    Args:
        title: A line above it.
        columns: Headings; those that start with ``>`` are right-aligned.
        rows: One text per column. Without any there is only the line above.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, "bold"), title_justify="left")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    width = None if sys.stdout.isatty() else 120
    try:
        Console(file=sys.stdout, width=width, highlight=False).print(table if rows else Text(title, "bold"))
    except SystemExit:  # rich's way to take a reader that has left
        raise BrokenPipeError from None


def size_text(count: int) -> str:
    """A number of bytes in words: ``5.61 MB`` (10^6)."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
