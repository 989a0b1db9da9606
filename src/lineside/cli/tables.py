"""Tables at the end of a command, on stdout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from lineside.pipelines.stages import StageStats
    from lineside.pipelines.summary import Summary

__all__ = ["print_summary", "stage_table"]


def print_summary(summary: Summary) -> None:
    """Prints counts, latencies and where the results are."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    counts = summary.counts
    table = Table(title=summary.source, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("frames", f"{counts.entered}")
    table.add_row("inspected", f"{counts.decided}")
    losses = {
        "late": counts.late,
        **{f"dropped before {link}": number for link, number in counts.dropped.items()},
        "incomplete": counts.incomplete,
        "never inspected": counts.never_inspected,
        "failed": counts.failed,
        "still in flight": counts.in_flight,
        **{f"not written by {name}": sink.dropped + sink.failed for name, sink in counts.sinks.items()},
    }
    for label, number in losses.items():
        if number or label == "failed":
            table.add_row(label, f"{number}")
    table.add_row("detections", f"{counts.detections}")
    for name, number in summary.classes.items():
        table.add_row(f"  {name}", f"{number}")
    table.add_row("time", f"{summary.seconds:.1f} s")
    table.add_row("rate", f"{summary.fps:.1f} fps")
    console.print(table)
    if summary.stages:
        console.print(stage_table(summary.stages))
    if summary.stopped:
        console.print(f"ended early by {summary.stopped}")
    if summary.results:
        console.print(f"results: {summary.results}", soft_wrap=True, markup=False)


def stage_table(stages: Mapping[str, StageStats], title: str = "milliseconds", tail: bool = False) -> Table:
    """A row per stage.

    Args:
        stages: Latencies of the stages.
        title: Title of the table.
        tail: Add p99.9 and the deviation.
    """
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("stage")
    for label in ("p50", "p90", "p99", *(("p99.9",) if tail else ()), "max", *(("sd",) if tail else ())):
        table.add_column(label, justify="right")
    for name, it in stages.items():
        values = (it.p50, it.p90, it.p99, *((it.p999,) if tail else ()), it.max, *((it.deviation,) if tail else ()))
        table.add_row(name, *(f"{value:.2f}" for value in values))
    return table
