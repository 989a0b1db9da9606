"""What a simulated station is made of: see `helpers.simulated_station`."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from lineside.pipelines.frame import Frame
from lineside.pipelines.inlet import Order
from lineside.pipelines.link import Policy
from lineside.pipelines.looks import BranchName
from lineside.runtime.errors import SourceError

PIXELS = np.zeros((1, 1, 3), np.uint8)
Fails = Callable[[int], bool]


def never(part: int) -> bool:
    """Nothing fails."""
    return False


@dataclass(frozen=True)
class SimSource:
    """Parts come at these times; ``damaged`` ones arrive incomplete, before ``missed`` ones some pass unseen.

    Where there are ``answers`` it is a triggered one: part k is asked for at its time, and its picture comes so long after,
    or never (None). During an outage nothing comes, what it was asked for is lost, and triggers do not reach it; of the
    parts that pass a source that ``tells`` says how many there were (or to which trigger a picture belongs). ``ends`` is
    when it ends although more parts pass.
    """

    arrivals: Sequence[int]
    live: bool = True
    damaged: frozenset[int] = frozenset()
    missed: dict[int, int] = field(default_factory=dict)
    answers: dict[int, int | None] | None = None
    outages: Sequence[tuple[int, int]] = ()
    tells: bool = True
    ends: int | None = None


@dataclass(frozen=True)
class SimModel:
    """Lanes that take up to ``batch`` frames at once, wait for them, and need ``service`` for part k; fail on some."""

    lanes: int
    service: Callable[[int], int]
    batch: int = 1
    order: Order = "turns"
    fails: Fails = never
    patience: int = 0


@dataclass(frozen=True)
class SimSink:
    """Needs ``speed`` for each frame; fails on some."""

    policy: Policy
    speed: int
    takes_failed: bool = False
    fails: Fails = never


@dataclass(frozen=True)
class SimLook:
    """A model's look at a source; what is done to a frame before (and to its result after) the model fails on some."""

    source: str
    model: str
    policy: Policy
    sinks: tuple[str, ...]
    deadline_ns: int | None = None
    late: str = "mark"
    priority: int = 0
    before: Fails = never
    after: Fails = never


class Faulty:
    """A transform that fails on some parts."""

    def __init__(self, fails: Fails) -> None:
        self.fails, self.lanes = fails, 1

    def __call__(self, frame: Frame) -> None:
        if self.fails(int(frame.name)):
            raise ValueError("the transform failed")


class Camera:
    """The camera behind a source.

    ``age`` grows with each outage, ``answered`` is when its newest picture comes, ``passed`` counts the parts that it did not
    see since the one before.
    """

    def __init__(self, ask: Callable[[int], None]) -> None:
        self.out, self.ended = False, False
        self.age = self.answered = self.passed = 0
        self._ask = ask

    def lose(self) -> None:
        """It is gone, and with it what it was asked for."""
        self.out, self.age = True, self.age + 1

    def back(self) -> None:
        """It answers again."""
        self.out = False

    def trigger(self, part: str | None = None, encoder: int | None = None, when: int | None = None) -> None:
        if self.out:
            raise SourceError("the cable was pulled")
        assert encoder is not None
        self._ask(encoder)


@dataclass
class Run:
    """Frames that a lane has in its hands, while it waits for more until a moment."""

    work: list[tuple[BranchName, Frame]]
    until: int


class Clock:
    """Virtual time, and what will happen."""

    def __init__(self) -> None:
        self.time = 0
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, time: int, action: Callable[[], None]) -> None:
        """Something is to happen at a moment, or at once where that has passed."""
        heapq.heappush(self.events, (max(time, self.time), next(self._numbers), action))

    def step(self, until: int | None) -> bool:
        """Lets the next thing happen; False where there is none up to that moment."""
        if not self.events or (until is not None and self.events[0][0] > until):
            return False
        self.time, _, action = heapq.heappop(self.events)
        action()
        return True
