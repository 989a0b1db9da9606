"""``lineside station``: the run that a station file describes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    file: Annotated[Path, typer.Argument(help="The station file (YAML).")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results instead of the file's own; with elements: where their sinks write."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="ELEMENT.OPTION=VALUE",
            help="Another value for an option of an element; may be given several times. Paths are relative to the file.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only read the file, and say what it describes, without credentials.")
    ] = False,
    describe: Annotated[bool, typer.Option("--describe", help="Only print the graph that it describes.")] = False,
    svg: Annotated[Path | None, typer.Option(help="As --describe, and draw the graph into this file.")] = None,
    duration: Annotated[str | None, typer.Option(help="Stop after so long, e.g. 10m; with elements.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
) -> int:
    """Runs what a station file describes, for months if need be. Ctrl-C ends it cleanly.

    A file with **elements** and **links** is a graph: sources (network, USB and industrial cameras, files), transforms,
    models and sinks by name, rows of **a ! queue policy=latest ! b** between them, and where wanted **takt** (deadlines) and
    **machine** (cores, priority). It shows what became of every part. **lineside elements** says what each element may be
    told.

    A file that names a bundle and sources is run as **lineside run** would with the same words as options.

    Paths are relative to the file.

    Example: **lineside station demo/station.yaml --out results**

    Example: **lineside station configs/stations/demo.yaml --set line.fps=2 --set line.count=4 --out results**

    Exit code: as for **lineside run**; 2 also where the file says something that cannot be meant.
    """
    import json

    import msgspec

    from lineside.cli.inspecting import carry_out
    from lineside.cli.operating import carry_out_plan, describe_plan
    from lineside.pipelines.plan.file import plan_of
    from lineside.pipelines.secrets import shown
    from lineside.pipelines.station import Station, job_of, read_station
    from lineside.pipelines.units import parse_time
    from lineside.runtime.errors import BadOption

    describe = describe or svg is not None
    if check and describe:
        raise BadOption("--check prints what the file says, --describe (and --svg) what it means: choose one of them")
    station = read_station(file, changes or ())
    if check:
        print(json.dumps(shown(msgspec.to_builtins(station)), indent=2))
        return 0
    if isinstance(station, Station):
        if describe or duration is not None:
            raise BadOption("--describe, --svg and --duration are for a station file with elements and links")
        return carry_out(job_of(station, file.parent, out), as_json)
    plan = plan_of(station, str(file), file.parent)
    if describe:
        describe_plan(plan, str(file), svg)
        return 0
    seconds = parse_time(duration) / 1e9 if duration else None
    return carry_out_plan(plan, str(file), file.parent, results=out, seconds=seconds, as_json=as_json)
