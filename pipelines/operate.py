"""A station at work: from its plan to what became of every part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lineside.pipelines.build import Built, build
from lineside.pipelines.counters import SinkCounts, Snapshot
from lineside.pipelines.elements import SourceState
from lineside.pipelines.events import Bus
from lineside.pipelines.facts import introduced
from lineside.pipelines.looks import BranchName
from lineside.pipelines.plan.shape import Shape
from lineside.pipelines.problems import Problems
from lineside.pipelines.punctuality import Punctuality, punctuality
from lineside.pipelines.runner import Runner
from lineside.pipelines.signals import Signals, catch_signals, patiently
from lineside.pipelines.stages import StageStats
from lineside.pipelines.summary import Tally
from lineside.pipelines.tails import apply_machine, settle_garbage
from lineside.pipelines.voice import Voice
from lineside.pipelines.watch.supervised import Limits

__all__ = ["BranchReport", "FeedReport", "Report", "operate"]

_TICK = 0.1
"""Seconds between two looks at signals and progress."""


@dataclass(frozen=True)
class BranchReport:
    """What became of one source's frames in front of one model.

    Attributes:
        live: Whether the source was live, so that frames lost to a newer one are no fault.
        counts: All counts.
        stages: Latency of each stage.
        deadline_ns: Time from trigger (or capture) to decision; None for any.
    """

    live: bool
    counts: Snapshot
    stages: dict[str, StageStats]
    deadline_ns: int | None = None

    @property
    def punctuality(self) -> Punctuality:
        """How the deadline was kept."""
        return punctuality(self.counts, self.stages, self.deadline_ns)


@dataclass(frozen=True)
class FeedReport:
    """What became of one source's frames on their way to sinks without a model.

    Attributes:
        live: As for a branch.
        sinks: Counts of each sink, by its name.
    """

    live: bool
    sinks: dict[str, SinkCounts]


@dataclass(frozen=True)
class Report:
    """The end of a station's run.

    Attributes:
        name: What the station is called.
        seconds: From the first frame that could come to the last sink.
        branches: By source and model.
        feeds: By source, where its frames went to sinks without a model.
        states: What each source was doing in the end.
        classes: Detections by class name.
        stopped: Name of the signal that ended it; empty where none did.
        hanging: Threads that did not end in time.
        problems: What went wrong, the first of each kind.
    """

    name: str
    seconds: float
    branches: dict[BranchName, BranchReport]
    states: dict[str, SourceState]
    classes: dict[str, int]
    stopped: str
    hanging: tuple[str, ...]
    problems: tuple[str, ...]
    feeds: dict[str, FeedReport] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether everything that should have been inspected and written was, and all ended."""
        fed = all(_written(feed.sinks.values(), feed.live) for feed in self.feeds.values())
        return not self.hanging and not self.problems and fed and all(map(_complete, self.branches.values()))

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values; times in ms unless named otherwise."""
        return {
            "station": self.name,
            "complete": self.complete,
            "stopped": self.stopped or None,
            "seconds": round(self.seconds, 3),
            "branches": [
                {
                    "source": name.source,
                    "model": name.model,
                    "live": branch.live,
                    "counts": asdict(branch.counts),
                    **branch.punctuality.to_dict(),
                    "stages": {stage: stats.to_dict() for stage, stats in branch.stages.items()},
                }
                for name, branch in self.branches.items()
            ],
            "feeds": [
                {"source": name, "live": feed.live, "sinks": {sink: asdict(it) for sink, it in feed.sinks.items()}}
                for name, feed in self.feeds.items()
            ],
            "states": self.states,
            "classes": self.classes,
            "hanging": list(self.hanging),
            "problems": list(self.problems),
        }


def _complete(branch: BranchReport) -> bool:
    """Whether nothing is missing; a live source may lose frames to newer ones."""
    counts = branch.counts
    faults = counts.failed + counts.incomplete + (0 if branch.live else counts.lost)
    return not (faults or counts.in_flight) and _written(counts.sinks.values(), branch.live)


def _written(sinks: Iterable[SinkCounts], live: bool) -> bool:
    """Whether sinks have what they should have."""
    return not any(sink.failed or (sink.dropped and not live) for sink in sinks)


def _end_wanted(signals: Signals, begin: float, seconds: float | None) -> bool:
    """Whether a signal has come, or the time is up."""
    return bool(signals.received) or (seconds is not None and time.monotonic() - begin >= seconds)


def _until_ended(
    runner: Runner,
    wanted: Callable[[], bool],
    show: Callable[[], None],
    drain: float,
    finish: float,
    grace: float,
    bus: Bus,
    signals: Signals,
) -> None:
    """Waits until a graph has ended, by itself or because that is wanted; see `operate` for how long each may take."""
    stopped: float | None = None
    while not runner.join(_TICK):
        show()
        if stopped is None and wanted():
            runner.stop()
            stopped = time.monotonic()
        if stopped is None:
            continue
        patience = drain + (finish if runner.finishing() else 0.0)
        if len(signals.received) > 1 or time.monotonic() - stopped >= patience:
            _give_up(runner, grace, bus)
            return


def _give_up(runner: Runner, grace: float, bus: Bus) -> None:
    """Ends what has not ended in time, and tells which results are therefore in no file."""
    before = _not_written(runner)
    runner.close(drain=0.0, grace=grace)
    for sink, number in _not_written(runner).items():
        lost = number - before.get(sink, 0)
        if lost:
            bus.emit("warning", sink, "given up", f"{sink}: {lost} results that still waited at the end are not in it")


def _not_written(runner: Runner) -> dict[str, int]:
    """How many frames the queue in front of each sink has given up."""
    found: dict[str, int] = {}
    counts = [*runner.snapshot().values(), *(passage.counters.snapshot() for passage in runner.passages.values())]
    for snapshot in counts:
        for name, sink in snapshot.sinks.items():
            found[name] = found.get(name, 0) + sink.dropped
    return found


def operate(
    shape: Shape,
    folder: Path,
    say: Callable[[str], None],
    show: Callable[[Runner], None] = lambda runner: None,
    *,
    bus: Bus | None = None,
    results: Path | None = None,
    limits: Limits = Limits(),
    seconds: float | None = None,
    drain: float = 10.0,
    finish: float = 60.0,
    grace: float = 3.0,
    construct: Callable[..., Built] = build,
) -> Report:
    """Runs a station until its sources end or a signal comes. For the main thread: it takes the signals.

    The first signal stops the sources and lets through what is queued, for at most ``drain`` seconds; a second one gives
    the queues up at once. Files that are being put together by then are waited for, ``finish`` seconds more and not after
    a second signal. Elements that still hang ``grace`` seconds later are left behind, and so is one that hangs while it is
    opened. So it returns within ``drain + finish + grace`` seconds of the first signal and within ``grace`` of a second
    one, and what stands around the graph (a page, the last words to the user) takes ten seconds more at most.

    Args:
        shape: The plan, understood.
        folder: What relative paths start from.
        say: Told what the user should know while it runs, a sentence at a time; from a thread of its own.
        show: Called about ten times a second, for progress; from the same one.
        bus: Where events go.
        results: What relative paths of sinks start from, where that is another folder.
        limits: When a live source counts as frozen.
        seconds: Stop after so long, as after a signal.
        drain: See above, seconds.
        finish: See above, seconds.
        grace: See above, seconds.
        construct: Makes the graph, as `lineside.pipelines.build.build` does.

    Raises:
        LinesideError: An element cannot be made or opened.
        KeyboardInterrupt: A signal came while an element hung in that.
    """
    bus, tally = bus or Bus(), Tally()
    with catch_signals() as signals, ExitStack() as stack:
        allowed = apply_machine(shape.plan.machine, say)  # before any thread begins
        voice = stack.enter_context(Voice(say))
        problems = Problems(voice.say)
        stack.callback(bus.listen(problems))
        for done in allowed:
            bus.emit("info", shape.plan.name, "machine", f"{shape.plan.name} {done}")

        def start() -> Runner:
            built = construct(shape, folder, bus, results=results, limits=limits, listener=tally)
            stack.enter_context(introduced(shape, built, bus, voice.say))
            built.runner.start()
            return built.runner

        runner = patiently(start, signals, grace)
        begin = time.monotonic()
        settle_garbage(shape.plan.machine)
        wanted = partial(_end_wanted, signals, begin, seconds)
        shown = partial(voice.do, partial(show, runner), idle=True)
        _until_ended(runner, wanted, shown, drain, finish, grace, bus, signals)
        voice.do(partial(show, runner))
    return Report(
        name=shape.plan.name,
        seconds=time.monotonic() - begin,
        branches=_branches(runner),
        states=runner.states(),
        classes=tally.classes,
        stopped=signals.received[0] if signals.received else "",
        hanging=tuple(runner.hanging()),
        problems=tuple(problems.messages),
        feeds={
            name: FeedReport(runner.stream_of(name).live, passage.counters.snapshot().sinks)
            for name, passage in runner.passages.items()
        },
    )


def _branches(runner: Runner) -> dict[BranchName, BranchReport]:
    """What became of the frames of every source in front of every model, all counts of one moment."""
    counts = runner.snapshot()
    return {
        name: BranchReport(
            live=runner.stream_of(name.source).live,
            counts=counts[name],
            stages=flow.clock.stats(),
            deadline_ns=flow.terms.deadline_ns,
        )
        for name, flow in runner.flows.items()
    }
