"""``lineside profile``: what a takt does to a model."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lineside.cli import INTERRUPTED

__all__ = ["command"]


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
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder or a .zip of it.")],
    source: Annotated[
        list[str], typer.Argument(help="Pictures, folders, patterns, videos, or synthetic:WIDTHxHEIGHT.")
    ],
    takt: Annotated[str, typer.Option(help="Time between two parts.")] = "40ms",
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON on stdout.")] = False,
) -> int:
    """Measures a model the way a line sees it: parts come at the takt, and time counts from their trigger.

    Example: **lineside profile demo/bearing.bundle parts/ --takt 40ms --duration 20s --max-miss 0.1%**

    Trigger times are fixed in advance, so a stall counts for every part that had to wait behind it. Beside it stands
    the closed loop (the next part comes when the model is ready), which is what most programs print.

    Exit code: 0 done; 1 a limit given with **--max-p99** or **--max-miss** was exceeded; 2 bad input;
    130 interrupted, with what was measured until then printed and no limit checked.
    """
    from lineside.cli.export import input_size
    from lineside.pipelines.settings import Settings, Thresholds
    from lineside.pipelines.sources.find import find
    from lineside.pipelines.units import parse_share, parse_time

    size = input_size(imgsz)
    takt_ns, seconds = parse_time(takt), parse_time(duration) / 1e9
    deadline_ns = parse_time(deadline) if deadline else takt_ns
    p99_limit = parse_time(max_p99) / 1e6 if max_p99 else None
    miss_limit = parse_share(max_miss) if max_miss else None
    from lineside.cli.live import show_progress, tell
    from lineside.pipelines.profile.run import Plan, run_profile

    plan = Plan(
        bundle=bundle,
        sources=find(source),
        title=source[0] if len(source) == 1 else "",
        settings=Settings(Thresholds(conf=conf)),
        policies=("latest", "every") if policy is Policies.both else (policy.value,),
        takt_ns=takt_ns,
        deadline_ns=deadline_ns,
        seconds=seconds,
        engine=engine,
        mode=mode.value,
        threads=threads,
        imgsz=size,
    )
    with show_progress("profiling") as show:
        profile = run_profile(plan, tell, show)
    if as_json:
        print(json.dumps(profile.to_dict()), flush=True)
    else:
        from lineside.cli.closing import print_profile

        print_profile(profile)
    if profile.stopped:
        tell(f"ended early by {profile.stopped}: the figures are of a part of the time, and no limit was checked")
        return INTERRUPTED
    profile.check(p99_limit, miss_limit)
    return 0
