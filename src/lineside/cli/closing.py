"""The tables at the end of a run and of a profile, on stdout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lineside.cli.tables import print_table

if TYPE_CHECKING:
    from lineside.pipelines.profile.report import Profile
    from lineside.pipelines.punctuality import Punctuality
    from lineside.pipelines.stages import StageStats
    from lineside.pipelines.summary import Summary

__all__ = ["print_deadlines", "print_profile", "print_stages", "print_summary"]


def print_summary(summary: Summary) -> None:
    """Prints counts, latencies and where the results are."""
    counts = summary.counts
    rows = [("frames", f"{counts.entered}"), ("inspected", f"{counts.decided}")]
    losses = {
        "late": counts.late,
        **{f"dropped before {link}": number for link, number in counts.dropped.items()},
        "incomplete": counts.incomplete,
        "never inspected": counts.never_inspected,
        "failed": counts.failed,
        "still in flight": counts.in_flight,
        **{f"not written by {name}": it.dropped + it.failed for name, it in counts.sinks.items() if name != "view"},
    }
    rows += [(label, f"{number}") for label, number in losses.items() if number or label == "failed"]
    rows.append(("detections", f"{counts.detections}"))
    rows += [(f"  {name}", f"{number}") for name, number in summary.classes.items()]
    rows += [("time", f"{summary.seconds:.1f} s"), ("rate", f"{summary.fps:.1f} fps")]
    print_table(summary.source, ("result", ">value"), rows)
    if summary.stages:
        print_stages("latency, ms", summary.stages)
    if summary.stopped:
        print(f"ended early by {summary.stopped}")
    for name, path in summary.incomplete.items():
        print(f"incomplete: {name}, {f'what there is of it: {path}' if path else 'nothing is left of it'}")
    if summary.results:
        print(f"results: {summary.results}")


def print_profile(profile: Profile) -> None:
    """Prints the three answers to "how often is it too slow", then the stages of each open loop."""
    takt, deadline = f"{profile.takt_ns / 1e6:g} ms", f"{profile.deadline_ns / 1e6:g} ms"
    closed = profile.closed
    answers = [
        ("service time only, closed loop", closed, "service", f"over {takt}: {closed.service_over_takt or 0.0:.2%}")
    ]
    for run in profile.opened:
        how = "from trigger, all parts wait" if run.policy == "every" else "from trigger, newest part first"
        never = f"never inspected: {run.uninspected} = {run.never_inspected:.2%}"
        answers.append((how, run, "total", f"over {deadline}: {run.late:.2%}; {never}"))
    rows = []
    for how, run, stage, answer in answers:
        it = run.stages.get(stage)
        times = ("-",) * 5 if it is None else tuple(f"{v:.2f}" for v in (it.p50, it.p90, it.p99, it.p999, it.max))
        rows.append((how, *times, answer))
    height, width = profile.size
    title = f"{profile.source}, {width}x{height}, a part every {takt}; times in ms"
    print_table(title, ("clock", ">p50", ">p90", ">p99", ">p99.9", ">max", "answer"), rows)
    for run in profile.opened:
        print_stages(f"policy {run.policy}, {run.parts} parts, ms", run.stages, tail=True)


def print_stages(title: str, stages: Mapping[str, StageStats], tail: bool = False) -> None:
    """A row per stage; with ``tail`` also p99.9 and the standard deviation."""
    columns = ["stage", ">p50", ">p90", ">p99", *([">p99.9"] if tail else []), ">max", *([">sd"] if tail else [])]
    rows = []
    for name, it in stages.items():
        values = (it.p50, it.p90, it.p99, *((it.p999,) if tail else ()), it.max, *((it.deviation,) if tail else ()))
        rows.append((name, *(f"{value:.2f}" for value in values)))
    print_table(title, columns, rows)


def print_deadlines(kept: Mapping[str, Punctuality]) -> None:
    """How those that have a deadline kept it; nothing where none has.

    Args:
        kept: By name of the source in front of its model.
    """
    rows = []
    for name, it in kept.items():
        if it.deadline_ns is None:
            continue
        by = it.lateness
        times = ("-",) * 3 if by is None else tuple(f"{value:.2f}" for value in (by.p50, by.p99, by.max))
        rows.append((name, f"{it.deadline_ns / 1e6:g}", str(it.missed), f"{it.share:.2%}", *times))
    if rows:
        columns = ("source", ">deadline", ">missed", ">share", ">late by, p50", ">p99", ">max")
        print_table("deadlines, ms", columns, rows)
