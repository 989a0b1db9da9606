"""One moment on two clocks."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lineside.pipelines.clocks import monotonic_of

OFFSET = 1_700_000_000_000_000_000
MILLISECOND = 1_000_000


class Machine:
    """Clocks of a machine that interrupts its program for so many ns before each look."""

    def __init__(self, pauses: Sequence[int]) -> None:
        self.pauses = list(pauses)
        self.now = 5_000 * MILLISECOND

    def steady(self) -> int:
        self.now += self.pauses.pop(0)
        return self.now

    def clock(self) -> int:
        return self.steady() + OFFSET


def test_a_moment_of_just_now() -> None:
    wall, steady = time.time_ns(), time.monotonic_ns()
    assert abs(monotonic_of(wall) - steady) < 1000 * MILLISECOND


def test_an_interruption_between_two_looks_moves_nothing() -> None:
    for pauses in ([10, 20 * MILLISECOND, 10], [10, 10, 20 * MILLISECOND]):
        machine = Machine([*pauses, 10, 10, 10])
        moment = 4_990 * MILLISECOND
        assert abs(monotonic_of(moment + OFFSET, steady=machine.steady, clock=machine.clock) - moment) <= 50
        assert not machine.pauses, "it has looked again"


def test_a_machine_that_interrupts_every_look_gets_the_best_there_is() -> None:
    machine = Machine([0, 20 * MILLISECOND, 0, 0, 2 * MILLISECOND, 0] + [30 * MILLISECOND] * 9)
    moment = 4_990 * MILLISECOND
    found = monotonic_of(moment + OFFSET, steady=machine.steady, clock=machine.clock)
    assert abs(found - moment) <= 1 * MILLISECOND
