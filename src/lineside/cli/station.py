"""``lineside station``: the run that a station file describes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    file: Annotated[Path, typer.Argument(help="The station file (YAML).")],
    out: Annotated[Path | None, typer.Option(help="Folder of the results instead of the file's own.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only read the file, and say what it describes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
) -> int:
    """Inspects what a station file names, as **lineside run** would with the same words as options.

    The file names bundle, sources, thresholds and results; its paths are relative to itself. Ctrl-C ends a run cleanly.

    Example: **lineside station demo/station.yaml --out results**

    Exit code: as for **lineside run**; 2 also where the file says something that cannot be meant.
    """
    import json

    import msgspec

    from lineside.cli.inspecting import carry_out
    from lineside.pipelines.station import job_of, read_station

    station = read_station(file)
    job = job_of(station, file.parent, out)
    if check:
        print(json.dumps(msgspec.to_builtins(station), indent=2))
        return 0
    return carry_out(job, as_json)
