"""What checks find: lines with a verdict, tables, and the report that holds them."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "SCHEMA",
    "Cell",
    "Finding",
    "Line",
    "Report",
    "Sample",
    "Table",
    "Verdict",
    "checked",
    "failed",
    "unchecked",
]

SCHEMA: Literal[1] = 1
"""Version of the layout of a report."""

Verdict = Literal["checked", "failed", "not checked"]
Cell = str | int | float | None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    Attributes:
        check: Which check it belongs to, a key of `lineside.runtime.selftest.table.CHECKS`.
        name: What was looked at.
        verdict: ``checked``: it is as it must be, or there was nothing to hold it against. ``failed``: it is not.
            ``not checked``: it could not be looked at.
        text: What was found; for the other verdicts what is wrong, or why it could not be looked at.
        figures: Numbers behind it, by name; the unit is part of the name.
    """

    check: str = ""
    name: str
    verdict: Verdict
    text: str
    figures: dict[str, Cell] = {}


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Many numbers of one kind.

    Attributes:
        check: Which check it belongs to.
        title: What it shows.
        columns: Headings.
        rows: Cells, as many in each as there are columns.
    """

    check: str = ""
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


Finding = Line | Table


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The machine at one moment of the selftest.

    Attributes:
        seconds: Since its begin.
        check: What was running.
        values: Temperatures in degrees Celsius, clocks in MHz and memory in MB, by name.
    """

    seconds: float
    check: str
    values: dict[str, float]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of a selftest.

    Attributes:
        schema: Version of this layout.
        passed: Whether no line failed.
        bundle: Name of the bundle.
        model_sha256: Hash of its model.
        engine: What executed the model, as its engine calls itself.
        device: What it was executed on.
        real: Whether that was a GPU; False for the host device, which proves nothing about speed.
        lineside: Version of Lineside.
        created: ISO 8601 time of the begin, UTC.
        seconds: How long it took.
        options: What was asked for.
        lines: Everything that was looked at, in order.
        tables: Tables, in order.
        trace: Temperatures, clocks and memory over time.
    """

    schema: Literal[1] = SCHEMA
    passed: bool
    bundle: str
    model_sha256: str
    engine: str
    device: str
    real: bool
    lineside: str
    created: str
    seconds: float
    options: dict[str, Cell]
    lines: tuple[Line, ...]
    tables: tuple[Table, ...]
    trace: tuple[Sample, ...]

    def count(self, verdict: Verdict) -> int:
        """Number of lines with a verdict."""
        return sum(line.verdict == verdict for line in self.lines)


def checked(name: str, text: str, **figures: Cell) -> Line:
    """A line about something that is as it must be.

    Args:
        name: What was looked at.
        text: What was found.
        figures: Numbers behind it.
    """
    return Line(name=name, verdict="checked", text=text, figures=_own(figures))


def failed(name: str, text: str, **figures: Cell) -> Line:
    """A line about something that is not as it must be.

    Args:
        name: What was looked at.
        text: What is wrong.
        figures: Numbers behind it.
    """
    return Line(name=name, verdict="failed", text=text, figures=_own(figures))


def unchecked(name: str, why: str) -> Line:
    """A line about something that could not be looked at.

    Args:
        name: What was to be looked at.
        why: Why it could not be, as the end of a sentence that begins with "because".
    """
    return Line(name=name, verdict="not checked", text=f"not checked, because {why}")


def _own(figures: dict[str, Cell]) -> dict[str, Cell]:
    """Figures without numpy's numbers, which no report can hold."""
    return {name: getattr(value, "item", lambda value=value: value)() for name, value in figures.items()}
