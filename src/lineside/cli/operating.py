"""A station carried out in front of the user: its counters while it runs, what became of every part at its end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lineside.cli.closing import print_stages
from lineside.cli.live import tell
from lineside.cli.tables import print_table

if TYPE_CHECKING:
    from lineside.pipelines.counters import Snapshot
    from lineside.pipelines.looks import BranchName
    from lineside.pipelines.operate import Report
    from lineside.pipelines.plan.data import Plan
    from lineside.pipelines.runner import Runner

__all__ = ["carry_out_plan", "describe_plan", "print_report"]

_SECONDS = 5.0
"""Time between two plain lines."""
_COLUMNS = ("entered", "inspected", "late", "dropped", "incomplete", "never inspected", "failed", "in flight")


def describe_plan(plan: Plan, name: str, picture: Path | None) -> None:
    """Prints what a plan describes, and draws it where a file is named.

    Args:
        plan: The plan.
        name: What its text is called in messages.
        picture: File for the drawing, SVG.

    Raises:
        StationError: The plan has no meaning.
        SinkError: The drawing cannot be written.
    """
    from lineside.pipelines.plan.describe import as_svg, as_text
    from lineside.pipelines.plan.shape import shape_of
    from lineside.pipelines.sinks.part import replace_bytes

    print(as_text(shape_of(plan, name)), end="")
    if picture is not None:
        replace_bytes(picture, as_svg(plan).encode())


def carry_out_plan(
    plan: Plan, name: str, folder: Path, *, results: Path | None = None, seconds: float | None, as_json: bool
) -> int:
    """Runs a plan to its end.

    Args:
        plan: The plan.
        name: What its text is called in messages.
        folder: What relative paths start from.
        results: What relative paths of sinks start from, where that is another folder.
        seconds: Stop after so long.
        as_json: Print the report as JSON instead of tables.

    Returns:
        Exit code: 0 where everything was inspected and saved, else 1.

    Raises:
        LinesideError: See `lineside.pipelines.operate.operate`.
    """
    from lineside.pipelines.operate import operate
    from lineside.pipelines.plan.shape import shape_of

    report = operate(shape_of(plan, name), folder, tell, _progress(), results=results, seconds=seconds)
    if as_json:
        print(json.dumps(report.to_dict()), flush=True)
    else:
        print_report(report)
    return 0 if report.complete else 1


def _progress() -> Callable[[Runner], None]:
    """Says every few seconds what each source has come to."""
    due = time.monotonic() + _SECONDS

    def show(runner: Runner) -> None:
        nonlocal due
        if time.monotonic() < due:
            return
        due += _SECONDS
        states = runner.states()
        for name, counts in runner.snapshot().items():
            print(f"{_named(name)}: {states[name.source]}, {_brief(counts)}", file=sys.stderr, flush=True)

    return show


def _named(name: BranchName) -> str:
    return f"{name.source} > {name.model}"


def _numbers(counts: Snapshot) -> tuple[int, ...]:
    """The counts under `_COLUMNS`."""
    dropped = sum(counts.dropped.values())
    return (
        counts.entered, counts.inspected, counts.late, dropped, counts.incomplete, counts.never_inspected, counts.failed,
        counts.in_flight,
    )  # fmt: skip


def _brief(counts: Snapshot) -> str:
    """The counts that are not zero, in a row."""
    pairs = zip(_COLUMNS, _numbers(counts), strict=True)
    return ", ".join(f"{label} {number}" for label, number in pairs if number or label == "entered")


def print_report(report: Report) -> None:
    """Prints counts and latencies of every source, and what went wrong."""
    rows = [
        (_named(name), *map(str, _numbers(branch.counts)), str(branch.counts.detections))
        for name, branch in report.branches.items()
    ]
    print_table(
        f"{report.name}, {report.seconds:.1f} s", ("source", *(f">{it}" for it in _COLUMNS), ">detections"), rows
    )
    sinks = [
        (_named(name), sink, *map(str, (it.given, it.written, it.dropped, it.failed)))
        for name, branch in report.branches.items()
        for sink, it in branch.counts.sinks.items()
    ]
    if sinks:
        print_table("results", ("source", "sink", ">given", ">written", ">dropped", ">failed"), sinks)
    for name, branch in report.branches.items():
        if branch.stages:
            print_stages(f"latency of {_named(name)}, ms", branch.stages)
    if report.stopped:
        print(f"ended by {report.stopped}")
    if report.hanging:
        print(f"did not end in time: {', '.join(report.hanging)}")
