"""A live source that is watched over: states, a watchdog on the age of its newest frame, and attempts without end."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from lineside.pipelines.elements import Source, SourceState, StreamInfo
from lineside.pipelines.events import Bus, Level
from lineside.pipelines.frame import CAPTURE, Frame
from lineside.pipelines.triggers import Triggered, Triggers, not_triggered, takes_triggers
from lineside.pipelines.watch.attempt import Attempt, Over
from lineside.pipelines.watch.backoff import Backoff, Delays
from lineside.runtime.errors import SourceError

__all__ = ["Limits", "Supervised"]

_SLICE = 0.2
"""Seconds after which a wait for a frame looks whether anything else has happened."""
_MOST_BEHIND = 3
"""So many attempts may hang at once; there is no other before one of them has ended, or they would take all memory."""
_LONGER = 6.0
"""So many times longer than at first an attempt may take at most."""
_LEVEL: dict[SourceState, Level] = {"STALLED": "error", "BACKOFF": "warning"}


@dataclass(frozen=True)
class Limits:
    """When a source counts as frozen, and what is done about it.

    Attributes:
        connect: Longest time from an attempt to its first frame, seconds; twice as long after each attempt that came to
            nothing, six times at most, because what is slow would else never be there in time.
        begin: So much more for a process of its own, which has to begin first.
        stall: Longest time between two frames, seconds; infinite for any.
        periods: So many periods of the stream, where that is longer.
        waiting: The same for a source that something triggers, which may be silent because there is nothing to see.
        grace: Time in which an element has to end when it is asked to, seconds.
        steady: A source that has given frames for so long has recovered, seconds.
        rebuilds: After so many attempts in a row that came to nothing, or one that hangs, the capture moves into a process
            of its own, which can be killed.
        delays: Waits between attempts.
    """

    connect: float = 10.0
    begin: float = 10.0
    stall: float = 5.0
    periods: float = 3.0
    waiting: float = math.inf
    grace: float = 2.0
    steady: float = 5.0
    rebuilds: int = 3
    delays: Delays = field(default_factory=Delays)


class Supervised:
    """Gives the frames of a live source for as long as it is wanted, through every failure of the source.

    An end of the stream is a failure too: a camera has none. Frames keep one time axis over all attempts.

    Args:
        make: Builds the source; called for each attempt.
        name: Its name in the graph.
        bus: Where states are told.
        limits: When it counts as frozen.
        isolate: Builds the same source in a process of its own; None where that cannot be done.
        stream: What is known of it before it is opened; None where that is nothing but its name.
        dice: Where the jitter of the waits comes from.

    Attributes:
        state: What it is doing.
        attempts: Attempts so far.
        left_behind: Attempts that hang and were left behind.
        triggers: Triggers from outside that wait for their pictures; set by who reads the frames.
    """

    def __init__(
        self,
        make: Callable[[], Source],
        name: str,
        bus: Bus,
        limits: Limits = Limits(),
        *,
        isolate: Callable[[], Source] | None = None,
        stream: StreamInfo | None = None,
        dice: random.Random | None = None,
    ) -> None:
        self.state: SourceState = "NOT_STARTED"
        self.attempts = 0
        self.left_behind = 0
        self.triggers: Triggers | None = None
        self._make = make
        self._isolate = isolate
        self._stream = stream or StreamInfo(name, "camera", live=True)
        self._name = name
        self._bus = bus
        self._limits = limits
        self._backoff = Backoff(limits.delays, dice)
        self._stop = threading.Event()
        self._attempt: Attempt | None = None
        self._behind: list[Attempt] = []
        self._followed: Attempt | None = None  # the one whose frames are handed on at this moment
        self._first: int | None = None
        self._begun = math.inf  # when the attempt began to run
        self._connect = limits.connect

    def open(self) -> StreamInfo:
        """See `Source.open`. Nothing is opened yet: a dead camera must not keep a station from starting."""
        return self._stream

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`; ends when it is asked to, or when a source that said how many frames it has has given them."""
        try:
            while not self._stop.is_set():
                yield from self._one_life()
        finally:
            self._become("ENDED", "")

    def _one_life(self) -> Iterator[Frame]:
        """One attempt, from building the source to the wait after its end."""
        apart = self._isolate is not None and (self.left_behind or self._backoff.failures >= self._limits.rebuilds)
        self._become("CONNECTING", "in a process of its own" if apart else "")
        self._behind = [attempt for attempt in self._behind if not attempt.ended]
        if len(self._behind) >= _MOST_BEHIND:
            why: str | None = f"{len(self._behind)} captures hang; there is no other before one of them has ended"
        else:
            self.attempts += 1
            longer = min(2.0 ** min(self._backoff.failures, 8), _LONGER)
            self._connect = self._limits.connect * longer + (self._limits.begin if apart else 0.0)
            build = self._isolate if apart and self._isolate is not None else self._make
            why = yield from self._lived(Attempt(build, self._name))
        if not self._stop.is_set():
            delay = self._backoff.failed()
            self._become("BACKOFF", f"{why}; next attempt in {delay:.1f} s")
            self._stop.wait(delay)

    def _lived(self, attempt: Attempt) -> Generator[Frame, None, str | None]:
        """The frames of an attempt, and its end; returns why it ended."""
        self._attempt = self._followed = attempt
        try:
            why = yield from self._follow(attempt)
        finally:
            self._followed = None
        if self.triggers is not None:
            self.triggers.lost(why or "the source has given all it has")
        if why is None:
            self._stop.set()
        if not attempt.give_up(self._limits.grace):
            self.left_behind += 1
            self._behind.append(attempt)
            self._bus.emit("error", self._name, "hung", f"{self._name}: the capture does not end; it is left behind")
        return why

    def _follow(self, attempt: Attempt) -> Generator[Frame, None, str | None]:
        """Hands frames on until there are none any more; returns why, or None where the source has given all it has."""
        offset, left, heard = None, -1, time.monotonic()
        self._begun = math.inf
        while not self._stop.is_set():
            try:
                frame = attempt.next(_SLICE)
            except Over as end:
                if not str(end) and left == 0:
                    return None
                return str(end) or "the stream ended, which a camera's never does"
            if self._stop.is_set() and frame is not None:
                frame.release()
                break
            now = time.monotonic()
            if frame is None:
                why = self._silent(attempt, now - heard, offset is None)
                if why:
                    return why
                continue
            if offset is None:
                offset = self._offset(frame)
                self._begun = min(self._begun, now)
                left = -1 if attempt.stream is None or attempt.stream.frames is None else attempt.stream.frames
                self._become("RUNNING", "")
            self._steady(now)
            frame.pts += offset
            left -= 1
            yield frame
            heard = time.monotonic()
        return "it was asked to end"

    def _silent(self, attempt: Attempt, silence: float, first: bool) -> str:
        """Whether a source has been silent for too long.

        Args:
            attempt: The attempt.
            silence: For how long, seconds.
            first: Whether it has given no frame yet.

        Returns:
            Why it counts as frozen; empty where it does not.
        """
        stream = attempt.stream
        if stream is not None and stream.waits:
            # It says itself when it is lost; that it is open is all that can be known without a frame.
            self._become("RUNNING", "")
            now = time.monotonic()
            self._begun = min(self._begun, now)
            if self._unanswered():
                self._become("STALLED", text := f"no frame for {self._limits.stall:g} s after a trigger")
                return text
            self._steady(now)
            limit = self._limits.waiting
        elif first:  # a slow camera has nothing to give before its first period is over
            limit = max(self._connect, self._slow(stream))
        else:
            limit = max(self._limits.stall, self._slow(stream))
        if silence < limit:
            return ""
        if self.state != "RUNNING":
            return f"no frame within {limit:g} s of connecting"
        self._become("STALLED", f"no frame for {limit:g} s")
        return f"no frame for {limit:g} s"

    def _unanswered(self) -> bool:
        """Whether a trigger has been waiting for its picture for too long."""
        oldest = None if self.triggers is None else self.triggers.oldest
        return oldest is not None and (time.monotonic_ns() - oldest) / 1e9 > self._limits.stall

    def trigger(self, part: str | None = None, encoder: int | None = None, when: int | None = None) -> None:
        """See `lineside.pipelines.triggers.Triggered`.

        Raises:
            SourceError: The camera is down.
            BadOption: It cannot be triggered.
        """
        attempt = self._followed
        if attempt is None or attempt.stream is None:
            raise SourceError(f"{self._name} is {self.state}")
        source: object = attempt.source
        if not isinstance(source, Triggered) or not takes_triggers(source):
            raise not_triggered(self._name)
        source.trigger(part, encoder, when)

    def _offset(self, frame: Frame) -> float:
        """What is added to the presentation times of an attempt, so that time goes on over all of them; seconds."""
        captured = frame.clock.get(CAPTURE, time.monotonic_ns())
        if self._first is None:
            self._first = captured - round(frame.pts * 1e9)
        return (captured - self._first) / 1e9 - frame.pts

    def _slow(self, stream: StreamInfo | None) -> float:
        """Time that a stream may need for a frame because it is slow, seconds."""
        rate = stream.fps if stream is not None else None
        return self._limits.periods / rate if rate else 0.0

    def _steady(self, now: float) -> None:
        """Notes that a source has recovered, once it has run for long enough."""
        if self._backoff.failures and now - self._begun > self._limits.steady:
            self._backoff.worked()

    def _become(self, state: SourceState, why: str) -> None:
        """Changes the state and tells the bus."""
        if state == self.state:
            return
        before, self.state = self.state, state
        text = f"{self._name}: {before} -> {state}{f' ({why})' if why else ''}"
        self._bus.emit(_LEVEL.get(state, "info"), self._name, f"source {state.lower()}", text)

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()
        if self._attempt is not None:
            self._attempt.stop()

    def close(self) -> None:
        """See `Source.close`: an attempt whose frames nobody reads any more ends, and closes its own source."""
        self.stop()
        if self._attempt is not None and self._attempt not in self._behind:
            self._attempt.give_up(self._limits.grace)
        self._become("ENDED", "")
