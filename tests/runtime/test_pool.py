"""Lanes that threads take turns with, under a hail of interrupts."""

from __future__ import annotations

import random
import signal
import threading
import time
from typing import cast

import pytest

from lineside.runtime.errors import EngineFailed
from lineside.runtime.lane import Lane
from lineside.runtime.pool import Pool

STRIKES = 2000

LONG = 60.0
"""Seconds after which nothing is to be expected any more."""


class Struck(BaseException):
    """What the signal raises, as Ctrl-C raises KeyboardInterrupt."""


class Counted:
    """Stands for a lane: it knows whether two use it at once, and whether it was closed."""

    def __init__(self) -> None:
        self.users = 0
        self.closed = False

    def use(self) -> None:
        self.users += 1
        try:
            assert self.users == 1, "somebody else uses this lane"
        finally:
            self.users -= 1

    def close(self) -> None:
        self.closed = True


def used(lane: Lane) -> None:
    cast(Counted, lane).use()


def strike_often(pool: Pool) -> None:
    """Uses a pool and is interrupted again and again, at moments that nobody knows."""
    chance = random.Random(0)
    armed = False

    def strike(number: int, frame: object) -> None:
        nonlocal armed
        assert armed, "it waits for a lane that nobody has"
        armed = False  # once: a second one while the first is dealt with may cost a lane
        raise Struck

    before = signal.signal(signal.SIGALRM, strike)
    try:
        for _ in range(STRIKES):
            with pytest.raises(Struck):
                armed = True
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 2e-4), LONG)
                while armed:
                    pool.run(used)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("others", [0, 2])
def test_no_interrupt_costs_a_lane_or_gives_one_to_two(others: int) -> None:
    lanes = [Counted(), Counted()]
    pool = Pool(cast(list[Lane], lanes))
    failed: list[BaseException] = []
    ended = threading.Event()

    def keep_using() -> None:
        try:
            while not ended.is_set():
                pool.run(used)
                time.sleep(0)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=keep_using, daemon=True) for _ in range(others)]
    for thread in threads:
        thread.start()
    try:
        strike_often(pool)
    finally:
        ended.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "it waits for a lane that nobody has"
    assert failed == []
    together = threading.Barrier(len(lanes), timeout=60)  # all of them are to be had at once
    both = [threading.Thread(target=pool.run, args=(lambda lane: together.wait(),), daemon=True) for _ in lanes]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert not together.broken and not any(thread.is_alive() for thread in both)
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive() and all(lane.closed for lane in lanes)


def test_who_waits_for_a_lane_is_told_of_the_end_and_closing_waits_for_who_has_one() -> None:
    lanes = [Counted()]
    pool = Pool(cast(list[Lane], lanes))
    taken, done = threading.Event(), threading.Event()
    told: list[str] = []

    def hold(lane: Lane) -> None:
        taken.set()
        assert done.wait(LONG)

    def wait_for_one() -> None:
        try:
            pool.run(used)
        except EngineFailed as error:
            told.append(str(error))

    holding = threading.Thread(target=pool.run, args=(hold,), daemon=True)
    holding.start()
    assert taken.wait(LONG)
    waiting = [threading.Thread(target=wait_for_one, daemon=True) for _ in range(3)]
    closing = [threading.Thread(target=pool.close, daemon=True) for _ in range(2)]
    for thread in waiting + closing:
        thread.start()
    for thread in waiting:
        thread.join(LONG)
    assert told == ["this model is closed: load the bundle again"] * 3
    assert all(thread.is_alive() for thread in closing) and not lanes[0].closed
    done.set()
    for thread in [holding, *closing]:
        thread.join(LONG)
        assert not thread.is_alive()
    assert lanes[0].closed
