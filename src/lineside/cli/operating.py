"""A station carried out in front of the user: its counters while it runs, what became of every part at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from lineside.cli.board import show_station
from lineside.cli.closing import print_deadlines, print_stages
from lineside.cli.counting import COLUMNS, named, numbers
from lineside.cli.tables import print_table

if TYPE_CHECKING:
    from lineside.pipelines.operate import Report
    from lineside.pipelines.plan.data import Plan

__all__ = ["carry_out_plan", "describe_plan", "print_report"]


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

    shape = shape_of(plan, name)
    with show_station(plan.name) as (say, show):
        report = operate(shape, folder, say, show, results=results, seconds=seconds)
    if as_json:
        print(json.dumps(report.to_dict()), flush=True)
    else:
        print_report(report)
    return 0 if report.complete else 1


def print_report(report: Report) -> None:
    """Prints counts and latencies of every source, and what went wrong."""
    rows = [
        (named(name), *map(str, numbers(branch.counts)), str(branch.counts.detections))
        for name, branch in report.branches.items()
    ]
    print_table(
        f"{report.name}, {report.seconds:.1f} s", ("source", *(f">{it}" for it in COLUMNS), ">detections"), rows
    )
    print_deadlines({named(name): branch.punctuality for name, branch in report.branches.items()})
    sinks = [
        (named(name), sink, *map(str, (it.given, it.written, it.dropped, it.failed)))
        for name, branch in report.branches.items()
        for sink, it in branch.counts.sinks.items()
    ]
    sinks += [
        (source, sink, *map(str, (it.given, it.written, it.dropped, it.failed)))
        for source, feed in report.feeds.items()
        for sink, it in feed.sinks.items()
    ]
    if sinks:
        print_table("results", ("source", "sink", ">given", ">written", ">dropped", ">failed"), sinks)
    for name, branch in report.branches.items():
        if branch.stages:
            print_stages(f"latency of {named(name)}, ms", branch.stages)
    if report.stopped:
        print(f"ended by {report.stopped}")
    if report.hanging:
        print(f"did not end in time: {', '.join(report.hanging)}")
