"""Triggers from outside: a program or a controller asks a source for the picture of a part, and no part is forgotten."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from lineside.pipelines.events import Bus
from lineside.pipelines.frame import CAPTURE, TRIGGER, Frame
from lineside.pipelines.names import printable
from lineside.runtime.errors import BadOption

__all__ = ["Triggered", "Triggers", "not_triggered", "takes_triggers"]

_MOST = 10_000
"""So many triggers may wait for their pictures; of a source that answers none, the oldest are given up."""
_NAMED = 5
"""So many parts are named in one event."""


@runtime_checkable
class Triggered(Protocol):
    """A source that takes a picture when it is told to.

    It answers triggers in the order in which they came, each with one frame at most, and stamps the frame with the trigger's
    time, part and encoder count; where it stamps no `TRIGGER`, the frame is taken for the answer to the oldest one. One that
    can be triggered only as it is set up has an attribute ``takes_triggers`` that says so.
    """

    def trigger(self, part: str | None = None, encoder: int | None = None, when: int | None = None) -> None:
        """Asks for a picture now. Called from any thread, by one at a time; does not wait for the picture.

        Args:
            part: Identification of the part in front of the camera.
            encoder: Count of the line's encoder.
            when: Monotonic time in ns of the trigger; None for the present.

        Raises:
            SourceError: It does not reach the camera: there will be no picture of this part.
            BadOption: The source is not one that can be triggered so.
        """
        ...


def takes_triggers(source: object) -> bool:
    """Whether a source can be triggered from outside, as it is set up."""
    return isinstance(source, Triggered) and bool(getattr(source, "takes_triggers", True))


@dataclass(frozen=True, eq=False)
class _Asked:
    """A part that a source was asked for.

    Attributes:
        when: Monotonic time in ns of its trigger.
        part: Its identification.
        encoder: Count of the encoder.
        noted: Monotonic time in ns at which the trigger came here.
    """

    when: int
    part: str | None
    encoder: int | None
    noted: int = field(default_factory=time.monotonic_ns)


class Triggers:
    """Parts that a source was asked for and that no frame has answered yet. For several threads.

    Args:
        name: Name of the source, for events.
        source: The source; one with an attribute ``triggers`` gets this object, and may call `lost` and ask for `oldest`.
        unseen: Counts parts that were never looked at, given their number.
        bus: Where it is told which parts those were.
    """

    def __init__(self, name: str, source: object, unseen: Callable[[int], None], bus: Bus) -> None:
        self._name = name
        self._source = source
        self._unseen = unseen
        self._bus = bus
        self._waiting: deque[_Asked] = deque()
        self._lock = threading.Lock()
        self._giving = threading.Lock()  # the source gets triggers in the order in which they are noted
        self._over = False
        if hasattr(source, "triggers"):
            source.triggers = self

    def give(self, part: str | None = None, encoder: int | None = None, when: int | None = None) -> bool:
        """Triggers the source.

        Args:
            part: Identification of the part.
            encoder: Count of the line's encoder.
            when: Monotonic time in ns of the trigger; None for the present.

        Returns:
            Whether the trigger reached the source. A part whose trigger did not is counted as never inspected.

        Raises:
            BadOption: The source cannot be triggered.
        """
        source = self._source
        if not isinstance(source, Triggered) or not takes_triggers(source):
            raise not_triggered(self._name)
        with self._giving:
            asked = _Asked(time.monotonic_ns() if when is None else when, part, encoder)
            # Noted before the source is told: its answer may be here before the call is back.
            if not self._note(asked):
                self._never([asked], "the source has ended")
                return False
            try:
                source.trigger(part, encoder, asked.when)
            except BadOption:
                self._take_back(asked)
                raise
            except Exception as error:  # whatever a source of somebody's own does: the part was not looked at
                if self._take_back(asked):
                    self._never([asked], str(error) or type(error).__name__)
                return False
        return True

    def _note(self, asked: _Asked) -> bool:
        """Notes a trigger; False where none is answered any more."""
        with self._lock:
            if self._over:
                return False
            self._waiting.append(asked)
            given_up = [self._waiting.popleft()] if len(self._waiting) > _MOST else []
        self._never(given_up, "its trigger was not answered")
        return True

    def _take_back(self, asked: _Asked) -> bool:
        """Forgets a trigger; False where it was counted as lost meanwhile."""
        with self._lock:
            if asked not in self._waiting:
                return False
            self._waiting.remove(asked)
            return True

    def answered(self, frame: Frame) -> None:
        """A frame came: settles which trigger it answers, and which ones before that were in vain.

        Args:
            frame: The frame. Gets time, part and encoder count of its trigger where the source did not say which that was,
                and the triggers in vain in its ``missed``.
        """
        if not self._waiting:
            return
        stamp = frame.clock.get(TRIGGER)
        begin = frame.clock.get(CAPTURE, time.monotonic_ns()) if stamp is None else stamp
        with self._lock:
            count = self._until(begin, frame.missed, known=stamp is not None)
            answered = [self._waiting.popleft() for _ in range(count)]
        if not answered:
            return
        *vain, mine = answered
        if stamp is None:
            frame.clock = {TRIGGER: mine.when, **frame.clock}
            frame.part = mine.part if frame.part is None else frame.part
            frame.encoder = mine.encoder if frame.encoder is None else frame.encoder
        frame.missed = max(frame.missed, len(vain))
        self._tell(vain, "its trigger was not answered")

    def _until(self, begin: int, missed: int, *, known: bool) -> int:
        """How many of the waiting triggers a frame settles; holds the lock.

        Args:
            begin: Time of the frame's trigger, or else of its capture.
            missed: Parts that the source says have passed before it.
            known: Whether it is that of its trigger.
        """
        if known:
            exact = next((place for place, it in enumerate(self._waiting) if it.when == begin), None)
            if exact is not None:
                return exact + 1
        older = next((place for place, it in enumerate(self._waiting) if it.when > begin), len(self._waiting))
        return older if known else min(1 + missed, older)

    @property
    def oldest(self) -> int | None:
        """Monotonic time in ns since which a trigger has been waiting for its picture; None where none does."""
        with self._lock:
            return self._waiting[0].noted if self._waiting else None

    def lost(self, why: str) -> None:
        """What was asked for will not come: counts it.

        Args:
            why: What happened to the source.
        """
        with self._lock:
            gone = list(self._waiting)
            self._waiting.clear()
        self._never(gone, why)

    def close(self) -> None:
        """The source has ended: what waits, and whatever comes, is never looked at."""
        with self._lock:
            self._over = True
        self.lost("the source has ended")

    def _never(self, parts: Sequence[_Asked], why: str) -> None:
        """Counts parts that were never looked at, and tells which."""
        if parts:
            self._unseen(len(parts))
            self._tell(parts, why)

    def _tell(self, parts: Sequence[_Asked], why: str) -> None:
        if not parts:
            return
        names = [printable(it.part) for it in parts if it.part is not None]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        which = f" ({', '.join(names[:_NAMED])}{more})" if names else ""
        count = "a part was" if len(parts) == 1 else f"{len(parts)} parts were"
        self._bus.often("error", self._name, "trigger lost", f"{self._name}: {count} not looked at{which}: {why}")


def not_triggered(name: str) -> BadOption:
    """What is raised where a source cannot be triggered.

    Args:
        name: Name of the source.
    """
    return BadOption(
        f"'{name}' cannot be triggered from outside; sources that can are aravis with trigger=software and no pace, "
        "synthetic with trigger=outside, and one of your own with a method trigger"
    )
