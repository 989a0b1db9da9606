from __future__ import annotations

import pytest

from helpers import trt_double
from lineside.runtime.engines.tensorrt.progress import Phases, estimate, monitor


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_phases_within_phases_add_up_and_never_go_back() -> None:
    told: list[float] = []
    phases = Phases(lambda share, note: told.append(share))
    phases.start("Building Engine", "", 4)
    phases.step("Building Engine", 0)
    assert phases.share == 0.25
    phases.start("Timing", "Building Engine", 2)
    phases.start("Tactics", "Timing", 10)
    phases.step("Tactics", 4)
    assert phases.share == pytest.approx(0.25 + 0.25 * 0.25)
    phases.finish("Tactics")
    phases.step("Timing", 0)
    assert phases.share == pytest.approx(0.25 + 0.25 * 0.5)
    phases.finish("Timing")
    phases.step("Building Engine", 1)
    assert phases.share == 0.5
    phases.start("Another", "", 3)
    phases.finish("Building Engine")
    assert told == sorted(told)
    assert max(told) < 1


def test_the_rest_is_told_only_when_there_is_something_to_tell_from() -> None:
    clock = Clock()
    notes: list[str] = []
    phases = Phases(lambda share, note: notes.append(note), clock)
    phases.start("Building Engine", "", 100)
    clock.now = 60
    phases.step("Building Engine", 2)
    assert notes[-1] == "Building Engine"
    phases.step("Building Engine", 19)
    assert notes[-1] == "Building Engine; about 4 min left at this pace"
    assert estimate(2, 0.5) is None
    assert estimate(100, 0.9) == "less than a minute left at this pace"


def test_an_interrupt_does_not_travel_through_the_builder() -> None:
    def tell(share: float, note: str) -> None:
        if share >= 0.5:
            raise KeyboardInterrupt

    watch = monitor(trt_double, Phases(tell))
    watch.phase_start("Building Engine", None, 4)
    assert watch.step_complete("Building Engine", 0) is True
    assert watch.step_complete("Building Engine", 1) is False
    assert watch.step_complete("Building Engine", 2) is False
    watch.phase_finish("Building Engine")
    assert isinstance(watch.stopped, KeyboardInterrupt)
