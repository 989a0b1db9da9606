"""``lineside launch``: a graph from one line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    graph: Annotated[str, typer.Argument(help="The graph: elements with ! between them.")],
    deadline: Annotated[str | None, typer.Option(help="Time from trigger to decision, e.g. 400ms.")] = None,
    late: Annotated[str, typer.Option(help="Results after it: keep, mark or drop.")] = "mark",
    out: Annotated[
        Path | None, typer.Option(help="Folder that relative paths of sinks start from [default: here].")
    ] = None,
    duration: Annotated[str | None, typer.Option(help="Stop after so long, e.g. 10m.")] = None,
    describe: Annotated[bool, typer.Option("--describe", help="Only print what the line means.")] = False,
    svg: Annotated[Path | None, typer.Option(help="As --describe, and draw it into this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
) -> int:
    """Runs sources, models and sinks that are joined in one line.

    Elements stand between exclamation marks, with what they are told as NAME=VALUE behind them. **tee** hands a frame to
    several, a name with a dot stands for an element that was named before, **queue policy=…** says what happens when the
    next one is slow: latest, every:N or drop-oldest:N. Ctrl-C ends it cleanly.

    Example: **lineside launch "synthetic path=demo/pictures/bearing fps=5 count=20 ! segment bundle=demo/bearing.bundle ! jsonl path=out.jsonl"**

    Example: **lineside launch --describe "pictures path=parts ! segment bundle=b.bundle ! tee name=t ! csv t. ! images"**

    Exit code: 0 all inspected and saved; 1 something was not, it is named; 2 the line cannot be meant, or an element
    cannot be opened.
    """
    from lineside.cli.operating import carry_out_plan, describe_plan
    from lineside.pipelines.plan.file import StationTakt, takt_of
    from lineside.pipelines.plan.launch import parse_launch
    from lineside.pipelines.typed import converted
    from lineside.pipelines.units import parse_time

    name = "the launch string"
    takt = takt_of(converted({"deadline": deadline, "late": late}, StationTakt, "lineside launch"), "lineside launch")
    plan = parse_launch(graph, takt, name)
    if describe or svg is not None:
        describe_plan(plan, name, svg)
        return 0
    seconds = parse_time(duration) / 1e9 if duration else None
    return carry_out_plan(plan, name, Path(), results=out, seconds=seconds, as_json=as_json)
