"""Software triggers: given at a pace or from outside, and matched with the pictures they asked for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

__all__ = ["Answer", "Asked", "Pending", "Ticker"]

_MOST = 1000
"""So many triggers may wait for their pictures; of a camera that answers none, the newest count."""


_NEAR = 1_000_000_000
"""A picture may begin so many ns after its trigger: exposure, read-out and the way here."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A trigger.

    Attributes:
        when: Monotonic time in ns.
        part: The part that it was given for.
        encoder: Count of the encoder then.
    """

    when: int
    part: str | None = None
    encoder: int | None = None


@dataclass(frozen=True)
class Answer:
    """Which trigger a picture answers.

    Attributes:
        asked: The newest one before it; None where none is known.
        vain: Triggers before that one which were not answered at all.
        near: Those among them that were given so shortly before it that the picture may be theirs.
    """

    asked: Asked | None
    vain: int
    near: int


class Pending:
    """Triggers that no picture has answered yet. For several threads."""

    def __init__(self) -> None:
        self._asked: deque[Asked] = deque(maxlen=_MOST)

    def given(self, asked: Asked) -> None:
        """Notes a trigger."""
        self._asked.append(asked)

    def taken_back(self, asked: Asked) -> None:
        """The camera did not take a trigger."""
        with suppress(ValueError):
            self._asked.remove(asked)

    def answered(self, captured: int) -> Answer:
        """Matches a picture with its trigger: the newest one before it. Older ones were not answered at all.

        Args:
            captured: Monotonic time in ns at which the picture was there.
        """
        older: list[Asked] = []
        while self._asked and self._asked[0].when <= captured:
            older.append(self._asked.popleft())
        if not older:
            return Answer(None, 0, 0)
        *vain, mine = older
        return Answer(mine, len(vain), sum(mine.when - it.when < _NEAR for it in vain))


class Ticker:
    """Calls something at a steady pace, in a thread of its own.

    The k-th call is meant for ``begin + k * period``: one that is late does not delay those after it, and one whose time
    is over before the call ahead of it has returned is left out.

    Args:
        call: Told the time at which it was meant to be called, monotonic, in ns. What it raises ends the ticking.
        period: Time between two calls in ns.
        name: Name of the thread.

    Attributes:
        failure: What ended it; None where nothing did.
    """

    def __init__(self, call: Callable[[int], None], period: int, name: str) -> None:
        self.failure: Exception | None = None
        self._call = call
        self._period = period
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic_ns()
        while not self._stop.wait(max(0, due - time.monotonic_ns()) / 1e9):
            try:
                self._call(due)
            except Exception as error:
                self.failure = error
                return
            late = time.monotonic_ns() - due
            due += self._period * (1 + max(0, late) // self._period)

    def stop(self) -> None:
        """Ends it; a call that is going on is not waited for."""
        self._stop.set()
