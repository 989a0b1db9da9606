"""The whole of a profile: load, warm up, closed loop, open loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import lineside
from lineside.pipelines.events import Bus
from lineside.pipelines.graph import Graph
from lineside.pipelines.link import PolicyKind
from lineside.pipelines.problems import Problems
from lineside.pipelines.profile.measure import closed_loop, open_loop
from lineside.pipelines.profile.pictures import preload
from lineside.pipelines.profile.report import Profile
from lineside.pipelines.segment import Segment, fresh_lanes
from lineside.pipelines.settings import Settings
from lineside.pipelines.signals import catch_signals
from lineside.pipelines.sources.find import Found

__all__ = ["Plan", "run_profile"]

_WARM_UP = 5
_LONGEST_CLOSED = 10.0


@dataclass(frozen=True)
class Plan:
    """What is to be profiled.

    Attributes:
        bundle: The bundle.
        sources: Where pictures come from, see `find`.
        title: Name of the source, where one word stands for all of it.
        settings: Thresholds.
        policies: Policies of the open loops, in turn.
        takt_ns: Time between two parts.
        deadline_ns: Time allowed from trigger to decision.
        seconds: How long parts come, for each policy; the closed loop takes a quarter of it, at most 10 s.
        engine: Name of the engine.
        mode: ``latency`` or ``throughput``, see `lineside.load`.
        threads: Threads of one inference; None leaves the choice to the engine.
        imgsz: Height and width of the input, for a dynamic bundle; None: the bundle's own.
    """

    bundle: Path
    sources: Sequence[Found]
    title: str = ""
    settings: Settings = field(default_factory=Settings)
    policies: Sequence[PolicyKind] = ("latest", "every")
    takt_ns: int = 40_000_000
    deadline_ns: int = 40_000_000
    seconds: float = 20.0
    engine: str = "auto"
    mode: Literal["latency", "throughput"] = "latency"
    threads: int | None = None
    imgsz: tuple[int, int] | None = None


def run_profile(plan: Plan, say: Callable[[str], None], show: Callable[[Graph], None]) -> Profile:
    """Carries out a plan. A signal ends the loop that runs and leaves out those after it.

    Args:
        plan: The plan.
        say: Told what the user should know meanwhile.
        show: Called about ten times a second, for progress.

    Raises:
        BundleError: The bundle is not usable.
        EngineError: The model cannot be executed.
        SourceError: There is no picture to profile with.
    """
    pictures, name = preload(plan.sources, plan.title)
    bus = Bus()
    bus.listen(Problems(say))
    with (
        catch_signals() as signals,
        lineside.load(plan.bundle, engine=plan.engine, mode=plan.mode, threads=plan.threads, imgsz=plan.imgsz) as model,
    ):
        closed_transform = Segment(model, plan.settings, bus=bus, owns=False)
        for number in range(_WARM_UP):
            model(pictures[number % len(pictures)])
        closed = closed_loop(
            closed_transform,
            pictures,
            seconds=min(plan.seconds / 4, _LONGEST_CLOSED),
            takt_ns=plan.takt_ns,
            deadline_ns=plan.deadline_ns,
            stopped=lambda: bool(signals.received),
        )
        opened = tuple(
            open_loop(
                Segment(model, plan.settings, bus=bus, lanes=fresh_lanes(policy, plan.mode), owns=False),
                pictures,
                policy=policy,
                takt_ns=plan.takt_ns,
                deadline_ns=plan.deadline_ns,
                seconds=plan.seconds,
                bus=bus,
                stopped=lambda: bool(signals.received),
                show=show,
            )
            for policy in plan.policies
            if not signals.received
        )
        engine = model.engine_name
    return Profile(
        bundle=str(plan.bundle),
        engine=engine,
        source=name,
        size=(pictures[0].shape[0], pictures[0].shape[1]),
        takt_ns=plan.takt_ns,
        deadline_ns=plan.deadline_ns,
        closed=closed,
        opened=opened,
        stopped=signals.received[0] if signals.received else "",
    )
