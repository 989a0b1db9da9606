"""``lineside profile``: what a takt does to a model, or to a whole station."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lineside.runtime.errors import BadOption

__all__ = ["command"]

STATIONS = (".yaml", ".yml")
"""Endings of station files."""
_MODEL = ("conf", "engine", "mode", "threads", "imgsz")
"""Options that a station file answers itself."""


class Policies(str, Enum):
    """What becomes of a part that comes while the model is busy."""

    latest = "latest"
    every = "every"
    both = "both"


class Mode(str, Enum):
    """What the model is tuned for."""

    latency = "latency"
    throughput = "throughput"


def command(
    context: typer.Context,
    what: Annotated[
        Path, typer.Argument(metavar="BUNDLE|STATION", help="A bundle (a folder or a .zip of it) or a station file.")
    ],
    source: Annotated[
        list[str] | None,
        typer.Argument(help="For a bundle: pictures, folders, patterns, videos, or synthetic:WIDTHxHEIGHT."),
    ] = None,
    takt: Annotated[
        str, typer.Option(help="Time between two parts. In a station: of its files; a video has its own rate.")
    ] = "40ms",
    duration: Annotated[str, typer.Option(help="How long parts come, for each policy.")] = "20s",
    deadline: Annotated[str, typer.Option(help="Time allowed from trigger to decision [default: the takt].")] = "",
    policy: Annotated[
        Policies, typer.Option(help="latest: a waiting part gives way to the next; every: all wait in line.")
    ] = Policies.both,
    max_p99: Annotated[str, typer.Option(help="Fail if p99 from trigger to last sink is above this.")] = "",
    max_miss: Annotated[str, typer.Option(help="Fail if a larger share of parts is late or never inspected.")] = "",
    conf: Annotated[float | None, typer.Option(help="Lowest score kept, exclusive [default: the bundle's].")] = None,
    engine: Annotated[str, typer.Option(help="Engine that runs the model.")] = "auto",
    mode: Annotated[Mode, typer.Option(help="One frame soon, or many frames side by side.")] = Mode.latency,
    threads: Annotated[int | None, typer.Option(help="Threads of one inference [default: chosen].")] = None,
    imgsz: Annotated[
        str | None, typer.Option(help="Input in pixels, one number or HxW; needs a bundle exported with --dynamic.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="ELEMENT.OPTION=VALUE", help="Changes an element of a station; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="For a station: where its sinks write [default: thrown away].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON on stdout.")] = False,
) -> int:
    """Measures a model, or a station, the way a line sees it: parts come at the takt, time counts from their trigger.

    Example: **lineside profile demo/bearing.bundle parts/ --takt 40ms --duration 20s --max-miss 0.1%**

    Example: **lineside profile configs/stations/demo.yaml --duration 20s --max-p99 300ms**

    Trigger times are fixed in advance, so a stall counts for every part that had to wait behind it. Beside it stands
    the closed loop (the next part comes when the model is ready), which is what most programs print.

    A station with elements runs as it is, with its own queues and deadlines: cameras come as they come, files at the
    takt and round and round. What its sinks write is thrown away, or goes to **--out**.

    Exit code: 0 done; 1 a limit given with **--max-p99** or **--max-miss** was exceeded; 2 bad input;
    130 interrupted, with what was measured until then printed and no limit checked.
    """
    from lineside.cli.profiling import Shown, of_bundle, of_job, of_station
    from lineside.pipelines.plan.file import plan_of
    from lineside.pipelines.station import Station, job_of, read_station
    from lineside.pipelines.units import parse_share, parse_time

    takt_ns, seconds = parse_time(takt), parse_time(duration) / 1e9
    deadline_ns = parse_time(deadline) if deadline else takt_ns
    shown = Shown(parse_time(max_p99) / 1e6 if max_p99 else None, parse_share(max_miss) if max_miss else None, as_json)
    policies = ("latest", "every") if policy is Policies.both else (policy.value,)
    terms = {"takt_ns": takt_ns, "deadline_ns": deadline_ns, "seconds": seconds}
    if what.suffix.lower() not in STATIONS:
        _refuse(context, ("out",), "is for a station: of a bundle nothing is written")
        _refuse(context, ("changes",), "is for a station", "set")
        use = {"conf": conf, "engine": engine, "mode": mode.value, "threads": threads, "imgsz": imgsz}
        return of_bundle(what, source or [], use, {**terms, "policies": policies}, shown)
    if source:
        raise BadOption(f"{what} is a station file, which names its own sources: leave out {source[0]!r}")
    _refuse(context, _MODEL, f"is for a bundle: {what} says itself how its model is used")
    station = read_station(what, changes or ())
    if isinstance(station, Station):
        _refuse(context, ("out",), "is for a station file with elements and links: of this one nothing is written")
        job = job_of(station, what.parent)
        if job.policy is not None and job.policy.kind in policies and not _given(context, "policy"):
            policies = (job.policy.kind,)
        return of_job(job, {**terms, "policies": policies}, shown)
    _refuse(context, ("deadline", "policy"), f"is for a bundle: takt and links of {what} say it")
    plan = plan_of(station, str(what), what.parent)
    return of_station(plan, what, seconds, takt_ns if _given(context, "takt") else None, out, shown)


def _given(context: typer.Context, option: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _refuse(context: typer.Context, options: tuple[str, ...], why: str, called: str = "") -> None:
    """Refuses options that mean nothing here; ``called`` is what a user calls one that has another name.

    Raises:
        BadOption: One of them was given.
    """
    for option in options:
        if _given(context, option):
            raise BadOption(f"--{called or option.replace('_', '-')} {why}")
