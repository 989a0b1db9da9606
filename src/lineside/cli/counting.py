"""The counts of a station as rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lineside.pipelines.counters import Snapshot
    from lineside.pipelines.looks import BranchName

__all__ = ["COLUMNS", "brief", "named", "numbers"]

COLUMNS = ("entered", "inspected", "late", "dropped", "incomplete", "never inspected", "failed", "in flight")
"""What became of frames and parts; see docs/station.md."""


def named(name: BranchName) -> str:
    """A source in front of a model, in one word."""
    return f"{name.source} > {name.model}"


def numbers(counts: Snapshot) -> tuple[int, ...]:
    """The counts under `COLUMNS`."""
    dropped = sum(counts.dropped.values())
    return (
        counts.entered, counts.inspected, counts.late, dropped, counts.incomplete, counts.never_inspected, counts.failed,
        counts.in_flight,
    )  # fmt: skip


def brief(counts: Snapshot) -> str:
    """The counts that are not zero, in a row."""
    pairs = zip(COLUMNS, numbers(counts), strict=True)
    return ", ".join(f"{label} {number}" for label, number in pairs if number or label == "entered")
