"""A whole station in virtual time: sources, models that they share, sinks that they share; no threads, no waiting."""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from lineside.pipelines.counters import Counters, Snapshot
from lineside.pipelines.flow import Flow, Terms
from lineside.pipelines.frame import CAPTURE, READ, TRIGGER, Frame
from lineside.pipelines.inlet import Inlet, Order
from lineside.pipelines.link import Link, Policy
from lineside.pipelines.looks import BranchName

PIXELS = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True)
class SimSource:
    """Parts come at these times; ``damaged`` ones arrive incomplete, before ``missed`` ones some pass unseen."""

    arrivals: Sequence[int]
    live: bool = True
    damaged: frozenset[int] = frozenset()
    missed: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SimModel:
    """Lanes that take up to ``batch`` frames at once and need ``service`` for part k; fail on some."""

    lanes: int
    service: Callable[[int], int]
    batch: int = 1
    order: Order = "turns"
    fails: Callable[[int], bool] = lambda k: False


@dataclass(frozen=True)
class SimSink:
    """Needs ``speed`` for each frame; fails on some."""

    policy: Policy
    speed: int
    takes_failed: bool = False
    fails: Callable[[int], bool] = lambda k: False


@dataclass(frozen=True)
class SimLook:
    """A model's look at a source."""

    source: str
    model: str
    policy: Policy
    sinks: tuple[str, ...]
    deadline_ns: int | None = None
    late: str = "mark"
    priority: int = 0


class SimulatedStation:
    """Plays a station from a list of events; `check` holds the counts against where the frames really are."""

    def __init__(
        self,
        sources: dict[str, SimSource],
        models: dict[str, SimModel],
        sinks: dict[str, SimSink],
        looks: Sequence[SimLook],
    ) -> None:
        self.time = 0
        self.ended: dict[BranchName, list[Frame]] = {}
        self.written: dict[tuple[str, BranchName], list[int]] = {}
        self.freed = 0
        self._sources, self._models, self._sinks = sources, models, sinks
        self._lock = threading.Lock()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()
        self._held: list[Callable[[], None]] = []
        self._inlets = {name: Inlet(model.order, now=lambda: self.time) for name, model in models.items()}
        self._outlets = {name: Inlet(now=lambda: self.time) for name in sinks}
        self.flows: dict[BranchName, Flow] = {}
        self._of: dict[Link, BranchName] = {}
        self._free = {name: model.lanes for name, model in models.items()}
        self.busy: Counter[BranchName] = Counter()
        self.writing: Counter[tuple[str, BranchName]] = Counter()
        self._idle = set(sinks)
        for look in looks:
            self._add(look)
        for name, source in sources.items():
            if source.arrivals:
                self._at(source.arrivals[0], lambda n=name: self._arrive(n, 0))

    def _add(self, look: SimLook) -> None:
        name = BranchName(look.source, look.model)
        terms = Terms(
            look.policy, not self._sources[look.source].live, look.deadline_ns, look.late, look.priority  # type: ignore[arg-type]
        )  # fmt: skip
        self.ended[name] = []
        flow = self.flows[name] = Flow(
            look.source, self._inlets[look.model], terms, sinks=look.sinks, lanes=self._models[look.model].lanes,
            lock=self._lock, now=lambda: self.time, listener=self.ended[name].append,
        )  # fmt: skip
        self._of[flow.queue] = name
        for sink in look.sinks:
            kind = self._sinks[sink]
            link = flow.outlets.join(sink, self._outlets[sink], kind.policy, takes_failed=kind.takes_failed)
            self._of[link] = name
            self.written[sink, name] = []

    def run(self, until: int | None = None) -> None:
        """Plays all events, or those up to a moment; checks after each."""
        while self._events and (until is None or self._events[0][0] <= until):
            self.time, _, action = heapq.heappop(self._events)
            action()
            self._work()
            held, self._held = self._held, []
            for again in held:
                again()
                self._work()
            self.check()
        assert self._events or not self._held, "the station is stuck: a source waits and nothing moves"

    def abandon(self) -> None:
        """Somebody pulls the plug: what waits is given up."""
        for flow in self.flows.values():
            flow.abandon()
        for again in self._held:
            self._at(self.time, again)
        self._held = []
        self.check()

    def snapshot(self) -> dict[BranchName, Snapshot]:
        """All counts of this moment."""
        return Counters.together({name: flow.counters for name, flow in self.flows.items()}, self._lock)

    def check(self) -> None:
        """Every count is where the frames are."""
        for name, now in self.snapshot().items():
            flow = self.flows[name]
            assert now.balanced
            assert now.in_flight == len(flow.queue) + self.busy[name] + len(flow._ready)
            for sink, counts in now.sinks.items():
                assert counts.waiting == len(flow.outlets.links[sink]) + self.writing[sink, name]

    def _at(self, time: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(time, self.time), next(self._numbers), action))

    def _arrive(self, name: str, number: int) -> None:
        source = self._sources[name]
        flows = [flow for branch, flow in self.flows.items() if branch.source == name]
        every = [
            flow for flow in flows if flow.queue.policy.kind == "every" and flow.queue.full and not flow.queue.closed
        ]
        if not source.live and every:  # Held back: comes again when the next thing happens.
            self._held.append(lambda: self._arrive(name, number))
            return
        frame = Frame(PIXELS, name=str(number), recycle=lambda pixels: self._freed())
        frame.clock[TRIGGER] = source.arrivals[number]
        frame.clock[CAPTURE] = frame.clock[READ] = self.time
        frame.damage = "lost packets" if number in source.damaged else None
        frame.missed = source.missed.get(number, 0)
        if number + 1 < len(source.arrivals):
            self._at(source.arrivals[number + 1], lambda: self._arrive(name, number + 1))
        for flow, each in zip(flows, [*(frame.fork() for _ in flows[1:]), frame], strict=True):
            flow.arrive(each, wait=False)

    def _freed(self) -> None:
        self.freed += 1

    def _work(self) -> None:
        """Gives idle lanes and sinks what waits for them, as long as anything moves."""
        while any([*map(self._lanes, self._models), *map(self._drain, self._sinks)]):
            pass

    def _lanes(self, name: str) -> bool:
        moved = False
        model = self._models[name]
        while self._free[name] and (taken := self._inlets[name].take(model.batch, wait=False)):
            moved = True
            work = []
            for link, frame in taken:
                branch = self._of[link]
                if self.flows[branch].expired(frame):
                    self.flows[branch].skip(frame)
                else:
                    work.append((branch, frame))
            if work:
                self._free[name] -= 1
                for branch, _ in work:
                    self.busy[branch] += 1
                longest = max(model.service(int(frame.name)) for _, frame in work)
                self._at(self.time + longest, lambda w=work: self._finish(name, w))
        return moved

    def _finish(self, name: str, work: list[tuple[BranchName, Frame]]) -> None:
        self._free[name] += 1
        for branch, frame in work:
            self.busy[branch] -= 1
            if self._models[name].fails(int(frame.name)):
                frame.error = "the transform failed"
            self.flows[branch].finish(frame)

    def _drain(self, name: str) -> bool:
        if name not in self._idle or not (taken := self._outlets[name].take(wait=False)):
            return False
        ((link, frame),) = taken
        branch = self._of[link]
        self._idle.discard(name)
        self.writing[name, branch] += 1
        self._at(self.time + self._sinks[name].speed, lambda: self._wrote(name, branch, frame))
        return True

    def _wrote(self, name: str, branch: BranchName, frame: Frame) -> None:
        self._idle.add(name)
        self.writing[name, branch] -= 1
        failed = self._sinks[name].fails(frame.sequence)
        if not failed:
            self.written[name, branch].append(frame.sequence)
        self.flows[branch].written(frame, name, "no space" if failed else None)
