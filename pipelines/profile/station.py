"""A station as it is, for a while: what its takt's deadlines make of each source, and of all of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from lineside.pipelines.build import Built, build
from lineside.pipelines.counters import Snapshot
from lineside.pipelines.elements import Source, SourceState
from lineside.pipelines.looks import BranchName
from lineside.pipelines.operate import operate
from lineside.pipelines.plan.data import Node, Plan
from lineside.pipelines.plan.shape import Shape, shape_of
from lineside.pipelines.profile.pace import AtTakt
from lineside.pipelines.profile.report import Account, account, hold
from lineside.pipelines.runner import Runner
from lineside.pipelines.stages import StageClock
from lineside.runtime.errors import BadOption, SourceError
from lineside.runtime.segmenter import Segmenter

__all__ = ["StationProfile", "profile_station"]

USUAL_NS = 40_000_000
"""Time between two parts of files that have no rate of their own, where none is given; as for a bundle."""
_WARM_UP = 5
_FILES = ("file", "gst", "pictures", "replay")
"""Sources that give as fast as they are taken."""


@dataclass(frozen=True)
class StationProfile:
    """What became of a station's parts.

    Attributes:
        station: What it is called.
        seconds: From the start to the last sink.
        accounts: By source and model.
        whole: All of them together.
        states: What each source was doing in the end.
        results: Folder of what the sinks have written; empty where it was thrown away.
        stopped: Name of the signal that ended it early; empty where none did.
        hanging: Threads that did not end in time.
        problems: What went wrong, the first of each kind.
    """

    station: str
    seconds: float
    accounts: dict[BranchName, Account]
    whole: Account
    states: dict[str, SourceState]
    results: str
    stopped: str
    hanging: tuple[str, ...]
    problems: tuple[str, ...]

    def check(self, p99_ms: float | None = None, miss: float | None = None) -> None:
        """Holds every source in front of every model against limits.

        Args:
            p99_ms: Highest p99 from trigger (or capture) to last sink, ms; None for any.
            miss: Largest share of parts that may be late or never inspected; None for any.

        Raises:
            CheckFailed: A limit is exceeded, or a source gave no part.
        """
        for name, run in self.accounts.items():
            hold(f"{name.source} > {name.model}", run, p99_ms, miss)

    def to_dict(self) -> dict[str, Any]:
        """The profile as plain values; times in ms unless named otherwise."""
        return {
            "station": self.station,
            "seconds": round(self.seconds, 3),
            "stopped": self.stopped or None,
            "results": self.results or None,
            "branches": [
                {
                    "source": name.source,
                    "model": name.model,
                    "takt_ms": None if run.takt_ns is None else run.takt_ns / 1e6,
                    **run.to_dict(),
                }
                for name, run in self.accounts.items()
            ],
            "all": self.whole.to_dict(),
            "states": self.states,
            "hanging": list(self.hanging),
            "problems": list(self.problems),
        }


def profile_station(
    plan: Plan,
    name: str,
    folder: Path,
    say: Callable[[str], None],
    show: Callable[[Runner], None] = lambda runner: None,
    *,
    seconds: float,
    takt_ns: int | None = None,
    results: Path | None = None,
) -> StationProfile:
    """Runs a station as it is for some time, and keeps accounts. For the main thread: it takes the signals.

    Its models are warmed up first. Cameras come as they come. Files, which would wait for the model and so could never
    show that it is too slow, come at a takt, round and round: at ``takt_ns``, else at their own rate, else every 40 ms.
    What its sinks write goes to a folder of its own, wherever their paths lead.

    Args:
        plan: The station.
        name: What its text is called in messages.
        folder: What relative paths start from.
        say: Told what the user should know meanwhile.
        show: Called about ten times a second, for progress.
        seconds: How long parts come.
        takt_ns: Time between two parts of files.
        results: Where the sinks write; None: to a temporary folder, which is removed again.

    Raises:
        BadOption: A takt is given, and no source is a file.
        SourceError: Not one part came.
        LinesideError: An element cannot be made or opened.
    """
    plan = _kept_apart(plan)
    shape = shape_of(plan, name)
    if not shape.branches:
        raise BadOption(
            f"{name} has no model, so that there is nothing to profile: add a segment between source and sink"
        )
    if takt_ns is not None and not any(map(_waits, shape.sources)):
        raise BadOption(f"no source of {name} is a file: its cameras come at their own pace, leave out --takt")
    builder = _Builder(takt_ns)
    with ExitStack() as stack:
        if results is None:
            temporary = tempfile.TemporaryDirectory(prefix="lineside-profile-", ignore_cleanup_errors=True)
            place = Path(stack.enter_context(temporary))
        else:
            place = results
        report = operate(shape, folder, say, show, results=place, seconds=seconds, construct=builder.construct)
    accounts = builder.accounts(shape)
    whole = _together(accounts.values(), builder.clocks())
    if not whole.parts:
        reason = report.problems[0] if report.problems else "its sources gave none"
        raise SourceError(f"not one part came in {report.seconds:.1f} s, so that there is no profile: {reason}")
    return StationProfile(
        station=report.name,
        seconds=report.seconds,
        accounts=accounts,
        whole=whole,
        states=report.states,
        results="" if results is None else str(results),
        stopped=report.stopped,
        hanging=report.hanging,
        problems=report.problems,
    )


class _Builder:
    """Builds the graph, its files at a takt and its models warm, and reads its accounts afterwards."""

    def __init__(self, takt_ns: int | None) -> None:
        self._takt_ns = takt_ns
        self._paced: dict[str, AtTakt] = {}
        self._runner: Runner | None = None

    def construct(self, shape: Shape, folder: Path, *arguments: Any, **options: Any) -> Built:
        """As `lineside.pipelines.build.build`."""
        built = build(shape, folder, *arguments, **options, wrap=self._source)
        for model in built.models.values():
            _warm_up(model.model)
        self._runner = built.runner
        return built

    def _source(self, node: Node, make: Callable[[], Source]) -> Source:
        if not _waits(node):
            return make()
        paced = self._paced[node.name] = AtTakt(make, self._takt_ns, USUAL_NS)
        return paced

    def accounts(self, shape: Shape) -> dict[BranchName, Account]:
        """The accounts of every look, once the graph has ended."""
        assert self._runner is not None, "the graph has run"
        takt, found = shape.plan.takt, {}
        for name, flow in self._runner.flows.items():
            paced = self._paced.get(name.source)
            found[name] = account(
                flow,
                loop="open",
                policy=str(flow.terms.policy),
                takt_ns=paced.takt_ns if paced else None,
                deadline_ns=takt.deadline_of(name.source),
                owed=paced.owed if paced else 0,
            )
        return found

    def clocks(self) -> list[StageClock]:
        """The stage clocks of every look."""
        assert self._runner is not None, "the graph has run"
        return [flow.clock for flow in self._runner.flows.values()]


def _waits(node: Node) -> bool:
    """Whether a source gives its frames as fast as they are taken."""
    return node.element in _FILES and getattr(node.options, "pace", "fast") in (False, "fast")


def _warm_up(model: Segmenter) -> None:
    """First runs are slow: engines choose their algorithms and fill their memory."""
    grey = np.full(model.manifest.input.size, 114, np.uint8)
    for _ in range(_WARM_UP):
        model(grey)


def _kept_apart(plan: Plan) -> Plan:
    """The plan with every path of a sink relative, so that a profile adds nothing to the station's own results."""
    nodes = {name: replace(node, options=_inside(node)) for name, node in plan.nodes.items()}
    return replace(plan, nodes=nodes)


def _inside(node: Node) -> Any:
    """Options of a node; a path of a sink that leads out of any folder gives way to one in a folder of the sink's name."""
    path = getattr(node.options, "path", None)
    if node.kind.role != "sink" or ":" in node.element or not isinstance(path, str):
        return node.options
    plain = os.path.normpath(os.path.expanduser(path))
    if not os.path.isabs(plain) and plain.split(os.sep)[0] != os.pardir:
        return node.options
    return msgspec.structs.replace(node.options, path=os.path.join(node.name, os.path.basename(plain)))


def _together(accounts: Iterable[Account], clocks: Sequence[StageClock]) -> Account:
    """Several accounts as one."""
    accounts = list(accounts)
    counts = [run.counts for run in accounts]
    total = partial(_total, counts)
    links = {link for it in counts for link in it.dropped}
    return Account(
        loop="open",
        policy="",
        takt_ns=None,
        deadline_ns=None,
        counts=Snapshot(
            entered=total("entered"),
            inspected=total("inspected"),
            late=total("late"),
            dropped={link: sum(it.dropped.get(link, 0) for it in counts) for link in sorted(links)},
            incomplete=total("incomplete"),
            never_inspected=total("never_inspected"),
            failed=total("failed"),
            in_flight=total("in_flight"),
            detections=total("detections"),
        ),
        stages=StageClock.together(clocks).stats(),
        service_over_takt=None,
        owed=sum(run.owed for run in accounts),
    )


def _total(counts: Sequence[Snapshot], field: str) -> int:
    return sum(getattr(it, field) for it in counts)
