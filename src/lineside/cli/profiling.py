"""A profile carried out in front of the user: of a bundle, of a run that a file describes, or of a station."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineside.cli import INTERRUPTED
from lineside.cli.live import tell
from lineside.runtime.errors import BadOption

if TYPE_CHECKING:
    from lineside.pipelines.plan.data import Plan
    from lineside.pipelines.profile.report import Account, Profile
    from lineside.pipelines.profile.station import StationProfile
    from lineside.pipelines.session import Job

__all__ = ["Shown", "of_bundle", "of_job", "of_station"]


@dataclass(frozen=True)
class Shown:
    """What is done with a profile.

    Attributes:
        p99_ms: Highest p99 from trigger to last sink, ms; None for any.
        miss: Largest share of parts that may be late or never inspected; None for any.
        as_json: Print it as JSON instead of tables.
    """

    p99_ms: float | None
    miss: float | None
    as_json: bool


def of_bundle(bundle: Path, sources: list[str], use: dict[str, Any], terms: dict[str, Any], shown: Shown) -> int:
    """Profiles a bundle.

    Args:
        bundle: The bundle.
        sources: Where pictures come from, as a user writes it.
        use: How the model is used: ``conf``, ``engine``, ``mode``, ``threads``, ``imgsz``.
        terms: Takt, deadline, time and policies, as fields of `lineside.pipelines.profile.run.Plan`.
        shown: What is done with the profile.

    Returns:
        Exit code.

    Raises:
        LinesideError: See `lineside.pipelines.profile.run.run_profile`; CheckFailed where a limit is exceeded.
    """
    from lineside.cli.sizes import input_size
    from lineside.pipelines.profile.run import Plan
    from lineside.pipelines.settings import Settings, Thresholds
    from lineside.pipelines.sources.find import find

    size = input_size(use.pop("imgsz"))
    settings = Settings(Thresholds(conf=use.pop("conf")))
    if not sources:
        raise BadOption(f"nothing to show to {bundle}: name pictures, videos or synthetic:WIDTHxHEIGHT behind it")
    title = sources[0] if len(sources) == 1 else ""
    return _measured(Plan(bundle, find(sources), title, settings, imgsz=size, **use, **terms), shown)


def of_job(job: Job, terms: dict[str, Any], shown: Shown) -> int:
    """Profiles the bundle of a station file that names one, on the file's own sources; see `of_bundle`."""
    from lineside.pipelines.profile.run import Plan

    return _measured(
        Plan(
            job.bundle, job.sources, job.title, job.settings, engine=job.engine, mode=job.mode, threads=job.threads,
            imgsz=job.imgsz, **terms,
        ),
        shown,
    )  # fmt: skip


def _measured(plan: Any, shown: Shown) -> int:
    """Carries out the profile of a bundle."""
    from lineside.cli.closing import print_profile
    from lineside.cli.live import show_progress
    from lineside.pipelines.profile.run import run_profile

    with show_progress("profiling") as show:
        profile = run_profile(plan, tell, show)
    if not shown.as_json:
        print_profile(profile)
    return _judged(profile, shown)


def of_station(plan: Plan, file: Path, seconds: float, takt_ns: int | None, results: Path | None, shown: Shown) -> int:
    """Profiles a station.

    Args:
        plan: The station.
        file: Where it is described.
        seconds: How long parts come.
        takt_ns: Time between two parts of files; None: their own rate.
        results: Where its sinks write; None: what they write is thrown away.
        shown: What is done with the profile.

    Returns:
        Exit code.

    Raises:
        LinesideError: See `lineside.pipelines.profile.station.profile_station`; CheckFailed where a limit is exceeded.
    """
    from lineside.cli.board import show_station
    from lineside.pipelines.profile.station import profile_station

    with show_station(plan.name) as (say, show):
        profile = profile_station(
            plan, str(file), file.parent, say, show, seconds=seconds, takt_ns=takt_ns, results=results
        )
    if not shown.as_json:
        _print_station(profile)
    return _judged(profile, shown)


def _judged(profile: Profile | StationProfile, shown: Shown) -> int:
    """Prints a profile as JSON where that is wanted, and holds it against the limits.

    Raises:
        CheckFailed: A limit is exceeded.
    """
    if shown.as_json:
        print(json.dumps(profile.to_dict()), flush=True)
    if profile.stopped:
        tell(f"ended early by {profile.stopped}: the figures are of a part of the time, and no limit was checked")
        return INTERRUPTED
    profile.check(shown.p99_ms, shown.miss)
    return 0


_COLUMNS = (
    "source", ">takt", ">deadline", ">parts", ">in time", ">late", ">dropped", ">incomplete",
    ">never inspected", ">failed", ">missed",
)  # fmt: skip


def _print_station(profile: StationProfile) -> None:
    """Prints what became of the parts of each source, then where their time went."""
    from lineside.cli.closing import print_deadlines, print_stages
    from lineside.cli.counting import named
    from lineside.cli.tables import print_table

    runs = {named(name): run for name, run in profile.accounts.items()}
    if len(runs) > 1:
        runs["all"] = profile.whole
    title = f"{profile.station}, {profile.seconds:.1f} s"
    print_table(title, _COLUMNS, [(name, *_cells(run)) for name, run in runs.items()])
    print_deadlines({name: run.punctuality for name, run in runs.items()})
    for name, run in runs.items():
        if run.stages:
            print_stages(f"latency of {name}, ms", run.stages, tail=True)
    ended = {name: state for name, state in profile.states.items() if state != "ENDED"}
    for name, state in ended.items():
        print(f"{name} was {state} in the end")
    if profile.hanging:
        print(f"did not end in time: {', '.join(profile.hanging)}")
    if profile.results:
        print(f"results: {profile.results}")


def _cells(run: Account) -> tuple[str, ...]:
    """A row of the first table, behind the name."""
    counts = run.counts
    never = counts.never_inspected + counts.in_flight + run.owed
    return (
        _time(run.takt_ns),
        _time(run.deadline_ns),
        *map(str, (run.parts, counts.inspected, counts.late, sum(counts.dropped.values()), counts.incomplete)),
        *map(str, (never, counts.failed)),
        f"{run.missed:.2%}",
    )


def _time(nanoseconds: int | None) -> str:
    if nanoseconds is None:
        return "-"
    return f"{nanoseconds / 1e6:g} ms" if nanoseconds < 10**10 else f"{nanoseconds / 1e9:g} s"
