"""A whole station in virtual time: sources, models that they share, sinks that they share; no threads, no waiting.

What counts is the product's own: `Flow` with its queues, `Passage`, `Triggers`, `Inlet`, `Outlets`, `Counters`. Who calls it
(a line, the lanes of a crew, the threads of sinks) is written anew here, because those wait, and so is the wait for a run
to fill. What comes of a camera that breaks is in the calls that a supervised source makes: its frames stop, what it was
asked for is lost, and triggers do not reach it until it is back.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from helpers.simulated_lines import Lines
from helpers.simulated_parts import Clock, Faulty, Run, SimLook, SimModel, SimSink, SimSource, never
from lineside.pipelines.counters import Counters, Snapshot
from lineside.pipelines.events import Bus
from lineside.pipelines.flow import Flow, Terms, apply
from lineside.pipelines.frame import Frame
from lineside.pipelines.inlet import Inlet
from lineside.pipelines.line import Passage
from lineside.pipelines.link import Link
from lineside.pipelines.looks import BranchName


class SimulatedStation:
    """Plays a station from a list of events; `check` holds the counts against where the frames really are.

    ``feeds`` are the ways of a source to sinks without a model; in `snapshot` and `written` their model is empty.
    """

    def __init__(
        self,
        sources: dict[str, SimSource],
        models: dict[str, SimModel],
        sinks: dict[str, SimSink],
        looks: Sequence[SimLook],
        feeds: dict[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.clock = clock = Clock()
        self.ended: dict[BranchName, list[Frame]] = {}
        self.written: dict[tuple[str, BranchName], list[int]] = {}
        self._sources, self._models, self._sinks = sources, models, sinks
        self._befores = {BranchName(look.source, look.model): look.before for look in looks}
        self._lock, self._bus = threading.Lock(), Bus()
        self._inlets = {name: Inlet(model.order, now=lambda: clock.time) for name, model in models.items()}
        self._outlets = {name: Inlet(now=lambda: clock.time) for name in sinks}
        self.flows: dict[BranchName, Flow] = {}
        self.passages: dict[str, Passage] = {}
        self._of: dict[Link, BranchName] = {}
        self._free = {name: model.lanes for name, model in models.items()}
        self._filling: dict[str, list[Run]] = {name: [] for name in models}
        self.busy: Counter[BranchName] = Counter()
        self.writing: Counter[tuple[str, BranchName]] = Counter()
        self._idle = set(sinks)
        self._over: set[str] = set()
        for look in looks:
            self._add(look)
        for name, joined in (feeds or {}).items():
            self._feed(name, joined)
        self.lines = Lines(sources, clock, self.flows, self.passages, self._bus)

    def _add(self, look: SimLook) -> None:
        name = BranchName(look.source, look.model)
        terms = Terms(
            look.policy, not self._sources[look.source].live, look.deadline_ns, look.late, look.priority  # type: ignore[arg-type]
        )  # fmt: skip
        self.ended[name] = []
        model = self._models[look.model]
        flow = self.flows[name] = Flow(
            look.source, self._inlets[look.model], terms, sinks=look.sinks, lanes=model.lanes * model.batch,
            after=[Faulty(look.after)] if look.after is not never else [],  # type: ignore[list-item]
            lock=self._lock, now=lambda: self.clock.time, listener=self.ended[name].append,
        )  # fmt: skip
        self._of[flow.queue] = name
        self._join(name, flow, look.sinks)

    def _feed(self, source: str, sinks: tuple[str, ...]) -> None:
        passage = self.passages[source] = Passage(
            source, sinks, patient=not self._sources[source].live, lock=self._lock, bus=self._bus
        )
        self._join(BranchName(source, ""), passage, sinks)

    def _join(self, name: BranchName, giver: Flow | Passage, sinks: Sequence[str]) -> None:
        for sink in sinks:
            kind = self._sinks[sink]
            link = giver.outlets.join(sink, self._outlets[sink], kind.policy, takes_failed=kind.takes_failed)
            self._of[link] = name
            self.written[sink, name] = []

    def run(self, until: int | None = None) -> None:
        """Plays all events, or those up to a moment; checks after each."""
        while self.clock.step(until):
            self._work()
            for again in self.lines.held_back():
                again()
                self._work()
            self.check()
        assert self.clock.events or not self.lines.held, "the station is stuck: a source waits and nothing moves"

    def abandon(self) -> None:
        """Somebody pulls the plug: what waits is given up."""
        for giver in (*self.flows.values(), *self.passages.values()):
            giver.abandon()
        for again in self.lines.held_back():
            self.clock.at(0, again)
        self.check()

    def snapshot(self) -> dict[BranchName, Snapshot]:
        """All counts of this moment."""
        counters = {name: flow.counters for name, flow in self.flows.items()}
        counters |= {BranchName(name, ""): passage.counters for name, passage in self.passages.items()}
        return Counters.together(counters, self._lock)

    def over(self) -> bool:
        """Whether every sink has heard that nothing more comes."""
        return all(inlet._ended() for inlet in self._outlets.values())

    def check(self) -> None:
        """Every count is where the frames are."""
        for name, now in self.snapshot().items():
            assert now.balanced
            giver: Flow | Passage
            if name.model:
                flow = giver = self.flows[name]
                assert now.in_flight == len(flow.queue) + self.busy[name] + len(flow._ready)
            else:
                giver = self.passages[name.source]
            for sink, counts in now.sinks.items():
                assert counts.waiting == len(giver.outlets.links[sink]) + self.writing[sink, name]

    def _work(self) -> None:
        """Gives idle lanes and sinks what waits for them, as long as anything moves."""
        while any([*map(self._lanes, self._models), *map(self._drain, self._sinks)]):
            pass

    def _lanes(self, name: str) -> bool:
        model, filling, inlet, moved = self._models[name], self._filling[name], self._inlets[name], False
        for run in filling:
            moved |= self._fill(name, run)
        while self._free[name] and self._fill(name, run := Run([], self.clock.time + model.patience)):
            self._free[name] -= 1
            filling.append(run)
            self.clock.at(run.until, lambda: None)
        for run in [
            it for it in filling if len(it.work) == model.batch or self.clock.time >= it.until or inlet._ended()
        ]:
            moved = True
            filling.remove(run)
            self._start(name, run.work)
        if name not in self._over and inlet._ended() and self._free[name] == model.lanes:
            self._over.add(name)
            for branch, flow in self.flows.items():
                if branch.model == name:
                    flow.close()
            moved = True
        return moved

    def _fill(self, name: str, run: Run) -> bool:
        """A lane takes what there is and what it has room for."""
        taken = self._inlets[name].take(self._models[name].batch - len(run.work), wait=False)
        for link, frame in taken:
            self.busy[self._of[link]] += 1
            run.work.append((self._of[link], frame))
        return bool(taken)

    def _start(self, name: str, taken: list[tuple[BranchName, Frame]]) -> None:
        """As `Crew` does: what is of no use any more, or fails before the model, takes no run of it."""
        work = []
        for branch, frame in taken:
            if self.flows[branch].expired(frame):
                self.busy[branch] -= 1
                self.flows[branch].skip(frame)
                continue
            apply(Faulty(self._befores[branch]), frame)  # type: ignore[arg-type]
            if frame.error is None:
                work.append((branch, frame))
            else:
                self.busy[branch] -= 1
                self.flows[branch].finish(frame)
        longest = max((self._models[name].service(int(frame.name)) for _, frame in work), default=0)
        self.clock.at(self.clock.time + longest, lambda: self._finish(name, work))

    def _finish(self, name: str, work: list[tuple[BranchName, Frame]]) -> None:
        self._free[name] += 1
        for branch, frame in work:
            self.busy[branch] -= 1
            if self._models[name].fails(int(frame.name)):
                frame.error = "the model failed"
            self.flows[branch].finish(frame)

    def _drain(self, name: str) -> bool:
        if name not in self._idle or not (taken := self._outlets[name].take(wait=False)):
            return False
        ((link, frame),) = taken
        branch = self._of[link]
        self._idle.discard(name)
        self.writing[name, branch] += 1
        self.clock.at(self.clock.time + self._sinks[name].speed, lambda: self._wrote(name, branch, frame))
        return True

    def _wrote(self, name: str, branch: BranchName, frame: Frame) -> None:
        self._idle.add(name)
        self.writing[name, branch] -= 1
        failed = self._sinks[name].fails(frame.sequence)
        if not failed:
            self.written[name, branch].append(frame.sequence)
        giver: Flow | Passage = self.flows[branch] if branch.model else self.passages[branch.source]
        giver.written(frame, name, "no space" if failed else None)
