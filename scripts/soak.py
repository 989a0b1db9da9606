#!/usr/bin/env python3
"""Runs a station for a while with faults that come and go by chance, and watches whether anything of it grows or is lost.

Four cameras, two ways before the model, every file sink with rotation and retention; cameras refuse, die, end, freeze, hang,
lose packets and triggers, change their size, flood; a step fails, a sink is slow, full or does not return. Every snapshot
of the counters has to add up; threads, descriptors, child processes, memory and queues have to come back to what they
were; every camera has to come back; every file has to be readable and no more than is to be kept::

    python scripts/soak.py --minutes 20
    python scripts/soak.py --minutes 2 --seed 7 --json

Exit code 1: something was found. The same seed brings the same faults in the same order.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from soak_elements import CAMERA_MOODS, SINK_MOODS, STEP_MOODS
from soak_files import check_files, station_file

from lineside.pipelines.operate import Report, operate
from lineside.pipelines.plan.file import StationGraph, plan_of
from lineside.pipelines.plan.shape import shape_of
from lineside.pipelines.station import read_station
from lineside.pipelines.watch.backoff import Delays
from lineside.pipelines.watch.supervised import Limits

if TYPE_CHECKING:
    from lineside.pipelines.runner import Runner

CAMERAS = ("north", "east", "south", "west")
MOODS = {**dict.fromkeys(CAMERAS, CAMERA_MOODS), "step": STEP_MOODS, "balky": SINK_MOODS}
LIMITS = Limits(connect=120.0, stall=1.5, grace=0.5, steady=2.0, delays=Delays(0.2, 2.0, 0.25))
"""Quicker than usual, so that a minute has many faults; but patient with a process that starts on a busy machine."""

CALM, STORM = 0.15, 0.75
"""Shares of the time at which faults begin and end."""
RETURN = 240.0
"""Seconds that cameras have to come back after the last fault."""
EVERY = 2.5
"""Seconds between two faults, on average."""
GROWTH = {"threads": 20, "descriptors": 40, "children": len(CAMERAS) + 1, "memory": 48.0}
"""What there may be more of in the end: captures that have moved into processes of their own stay there, pictures that wait
for a sync hold descriptors, and some threads begin with the first thing that they have to do. Memory in MB: pictures from other
processes are copies, and as many of them stay in the pools as once waited in queues (about 6 MB for a camera)."""


@dataclass(frozen=True)
class Sample:
    """The station at one moment.

    Attributes:
        seconds: Since the start.
        memory: Resident, MB.
        threads: Threads of the process.
        descriptors: Open files.
        children: Processes that it has started.
        queued: Frames in all queues.
    """

    seconds: float
    memory: float
    threads: int
    descriptors: int
    children: int
    queued: int


@dataclass
class Watch:
    """What is seen of the station while it runs.

    Attributes:
        moods: Folder of the moods.
        seconds: How long it runs.
        dice: Decides on the faults.
        samples: One a second.
        findings: What is wrong.
        faults: How often each fault came.
        snapshots: How many were looked at.
        named: Threads by name, before the first fault and at last; an element that leaves some behind shows there.
    """

    moods: Path
    seconds: float
    dice: random.Random
    samples: list[Sample] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    snapshots: int = 0
    named: list[Counter[str]] = field(default_factory=lambda: [Counter(), Counter()])
    _begin: float = 0.0
    _ends: dict[str, float] = field(default_factory=dict)
    _next: float = 0.0
    _calm: dict[str, int] | None = None
    _asked: bool = False

    def __call__(self, runner: Runner) -> None:
        """Looks at the station; called about ten times a second."""
        self._begin = self._begin or time.monotonic()  # Everything has been loaded by now.
        now = time.monotonic() - self._begin
        self._count(runner)
        if not self._asked and now - (self.samples[-1].seconds if self.samples else -1.0) >= 1.0:
            self.samples.append(sample(runner, now))
            place = 0 if now <= CALM * self.seconds else 1
            self.named[place] = Counter(re.sub(r"\d+", "#", it.name) for it in threading.enumerate())
        if CALM * self.seconds <= now < STORM * self.seconds:
            self._stir(now)
        elif now >= STORM * self.seconds:
            self._settle(runner, now)

    def find(self, what: str) -> None:
        """Notes something that is wrong, once."""
        if what not in self.findings:
            self.findings.append(what)

    def _count(self, runner: Runner) -> None:
        """Every snapshot adds up, and no queue is longer than it may be."""
        for name, counts in runner.snapshot().items():
            self.snapshots += 1
            if not counts.balanced:
                self.find(f"the counts of {name.source} do not add up: {counts}")
        for flow in runner.flows.values():
            for link in (flow.queue, *flow.outlets.links.values()):
                if len(link) > link.policy.depth:
                    self.find(f"the queue {link.name} of {flow.name} is longer than {link.policy.depth}")

    def _stir(self, now: float) -> None:
        """Ends the faults that are over and begins another where one is due."""
        for name in [name for name, end in self._ends.items() if now >= end]:
            self._set(name, "")
        if now < self._next:
            return
        self._next = now + self.dice.expovariate(1 / EVERY)
        name = self.dice.choice(sorted(MOODS))
        mood, lasts = self.dice.choice(MOODS[name]), self.dice.uniform(0.3, 6.0)
        if name not in self._ends:
            self._set(name, mood)
            self._ends[name] = now + lasts
            self.faults[mood] += 1

    def _set(self, name: str, mood: str) -> None:
        """Puts an element into a mood."""
        fresh = self.moods / f"{name}.new"
        fresh.write_text(mood)
        fresh.rename(self.moods / name)
        if not mood:
            self._ends.pop(name, None)

    def _settle(self, runner: Runner, now: float) -> None:
        """Waits until every camera gives frames again, and asks the station to end when its time has come."""
        for name in list(self._ends):
            self._set(name, "")
        entered = {name.source: counts.inspected + counts.late for name, counts in runner.snapshot().items()}
        states = runner.states()
        if self._calm is None:
            self._calm = entered
        lost = [it for it in CAMERAS if states[it] != "RUNNING" or entered[it] < self._calm[it] + 5]
        if self._asked or (now < self.seconds and not lost) or (lost and now < STORM * self.seconds + RETURN):
            return
        for name in lost:
            self.find(f"{name} did not come back: it is {states[name]}")
        self._asked = True
        os.kill(os.getpid(), signal.SIGTERM)


def sample(runner: Runner, now: float) -> Sample:
    """Looks at the process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    children = sum(len(it.read_text().split()) for it in Path("/proc/self/task").glob("*/children") if it.exists())
    links = [link for flow in runner.flows.values() for link in (flow.queue, *flow.outlets.links.values())]
    return Sample(
        round(now, 1), pages * os.sysconf("SC_PAGE_SIZE") / 1e6, threading.active_count(),
        len(os.listdir("/proc/self/fd")), children, sum(map(len, links)),
    )  # fmt: skip


def growth(watch: Watch) -> dict[str, tuple[float, float]]:
    """Each measure before the first fault and long after the last one, the middle of some seconds each."""
    early = [it for it in watch.samples if it.seconds <= CALM * watch.seconds]
    before = early[len(early) // 2 :]
    after = watch.samples[-max(3, len(watch.samples) // 20) :]
    if not before or len(watch.samples) < 6:
        watch.find("there were too few samples: let it run longer")
        return {}
    return {
        name: (median(getattr(it, name) for it in before), median(getattr(it, name) for it in after)) for name in GROWTH
    }


def judge(watch: Watch, report: Report, folder: Path) -> dict[str, tuple[float, float]]:
    """Looks at what is left in the end."""
    for name, branch in report.branches.items():
        if branch.counts.in_flight or not branch.counts.balanced:
            watch.find(f"in the end the counts of {name.source} do not add up: {branch.counts}")
    if report.hanging:
        watch.find(f"in the end these hang: {', '.join(report.hanging)}")
    grown = growth(watch)
    for name, (before, after) in grown.items():
        if after - before > GROWTH[name]:
            watch.find(f"{name} grew from {before:g} to {after:g}")
    for name, count in watch.named[1].items():
        if count > max(1, watch.named[0][name]):
            watch.find(f"there are {count} threads '{name}' in the end, and there were {watch.named[0][name]}")
    for what in check_files(folder):
        watch.find(what)
    return grown


def soak(minutes: float, seed: int, folder: Path) -> dict[str, Any]:
    """Runs the station in a folder, and gives what is printed."""
    moods = folder / "moods"
    moods.mkdir()
    file = station_file(folder, CAMERAS, moods)
    graph = read_station(file)
    assert isinstance(graph, StationGraph), "it has elements and links"
    watch = Watch(moods, 60 * minutes, random.Random(seed))
    threading.excepthook = lambda it: watch.find(f"a thread ended with {it.exc_type.__name__}: {it.exc_value}")
    said: list[str] = []
    report = operate(
        shape_of(plan_of(graph, str(file), folder), str(file)), folder, said.append, watch, limits=LIMITS, drain=30.0
    )
    grown = judge(watch, report, folder)
    return {
        "minutes": minutes,
        "seed": seed,
        "seconds": round(report.seconds, 1),
        "snapshots": watch.snapshots,
        "faults": dict(watch.faults),
        "sources": {name.source: asdict(branch.counts) for name, branch in report.branches.items()},
        "growth": grown,
        "samples": [asdict(it) for it in watch.samples],
        "said": len(said),
        "findings": watch.findings,
    }


def show(result: dict[str, Any]) -> None:
    """Prints what became of every frame, what grew, and the verdict."""
    from lineside.cli.tables import print_table

    names = ("entered", "inspected", "late", "dropped", "incomplete", "never_inspected", "failed")
    rows = [
        (source, *(str(sum(it.values()) if isinstance(it := counts[name], dict) else it) for name in names))
        for source, counts in result["sources"].items()
    ]
    print_table(
        f"{result['seconds']} s, {result['snapshots']} snapshots", ("camera", *(f">{it}" for it in names)), rows
    )
    print_table("faults", ("fault", ">times"), [(name, str(count)) for name, count in sorted(result["faults"].items())])
    grown = [(name, f"{before:g}", f"{after:g}") for name, (before, after) in result["growth"].items()]
    print_table("before the first fault and after the last", ("", ">before", ">after"), grown)
    for finding in result["findings"]:
        print(f"FOUND: {finding}")
    print("nothing was found" if not result["findings"] else f"{len(result['findings'])} findings")


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print everything as JSON instead of tables")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lineside-soak-") as folder:
        result = soak(told.minutes, told.seed, Path(folder))
    if told.json:
        print(json.dumps(result))
    else:
        show(result)
    return 1 if result["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
