"""How far a build is, out of what TensorRT's progress monitor tells.

TensorRT works in phases within phases, each of so many steps. The share done is that of the outermost phase, with the
phases inside its current step counted in; it never goes back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = ["Phases", "Tell", "estimate", "monitor"]

Tell = Callable[[float, str], None]
"""Called with the share done, 0 to 1, and a note; what it raises ends the build."""

SOONEST = 5.0
"""Seconds of work before a rest is guessed at."""
LEAST = 0.05
"""Share done before a rest is guessed at."""


@dataclass
class _Phase:
    """One phase that is under way.

    Attributes:
        parent: Name of the phase that it is a step of; empty for the outermost.
        steps: How many steps it has.
        done: How many of them are done.
    """

    parent: str
    steps: int
    done: int = 0


class Phases:
    """The phases that are under way.

    Args:
        tell: Is told of every change.
        clock: Seconds.
    """

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock, self._begun = tell, clock, clock()
        self._open: dict[str, _Phase] = {}
        self._share = 0.0

    @property
    def share(self) -> float:
        """The share done, 0 to 1."""
        return self._share

    def start(self, name: str, parent: str, steps: int) -> None:
        """A phase begins.

        Args:
            name: Its name.
            parent: The phase that it is part of; empty for none.
            steps: How many steps it has.
        """
        self._open[name] = _Phase(parent if parent in self._open else "", max(1, steps))
        self._told(name)

    def step(self, name: str, step: int) -> None:
        """A step of a phase is done.

        Args:
            name: Name of the phase.
            step: Which one, from 0.
        """
        phase = self._open.get(name)
        if phase is not None:
            phase.done = min(phase.steps, max(phase.done, step + 1))
        self._told(name)

    def finish(self, name: str) -> None:
        """A phase is over."""
        self._open.pop(name, None)
        self._told(name)

    def _told(self, name: str) -> None:
        outer = [self._of(own) for own, phase in self._open.items() if not phase.parent]
        self._share = max(self._share, min(0.999, sum(outer)))  # all of it is done when the plan is there
        left = estimate(self._clock() - self._begun, self._share)
        self._tell(self._share, name if left is None else f"{name}; {left}")

    def _of(self, name: str) -> float:
        """Share of a phase, with what is done of its current step."""
        phase = self._open[name]
        inner = [self._of(own) for own, child in self._open.items() if child.parent == name]
        return min(1.0, (phase.done + min(1.0, sum(inner))) / phase.steps)


def estimate(elapsed: float, share: float) -> str | None:
    """What is left, in words, if the rest goes as what is done.

    Args:
        elapsed: Seconds until now.
        share: Share done.

    Returns:
        Nothing as long as that would be a guess out of nothing.
    """
    if elapsed < SOONEST or share < LEAST:
        return None
    left = elapsed * (1 - share) / share
    if left < 60:
        return "less than a minute left at this pace"
    return f"about {left / 60:.0f} min left at this pace"


def monitor(trt: Any, phases: Phases) -> Any:
    """An ``IProgressMonitor`` that keeps the phases.

    What is raised while it tells of them, an interrupt above all, may not travel through TensorRT: the build is asked to
    stop, and the exception waits in ``stopped`` to be raised behind it.

    Args:
        trt: The module ``tensorrt``.
        phases: What it tells.
    """
    return _monitor_class(trt)(phases)


@cache
def _monitor_class(trt: Any) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self, phases: Phases) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases = phases
            self._lock = threading.Lock()  # TensorRT may tell of phases from several threads
            self.stopped: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._guarded(lambda: self._phases.start(phase_name, parent_phase or "", num_steps))

        def phase_finish(self, phase_name: str) -> None:
            self._guarded(lambda: self._phases.finish(phase_name))

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._guarded(lambda: self._phases.step(phase_name, step))
            return self.stopped is None

        def _guarded(self, tell: Callable[[], None]) -> None:
            with self._lock:
                if self.stopped is None:
                    try:
                        tell()
                    except BaseException as error:
                        self.stopped = error

    return Monitor
