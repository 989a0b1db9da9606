"""Software triggers: given at a pace or from outside, and matched with the pictures they asked for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

__all__ = ["Pending", "Ticker"]

_MOST = 1000
"""So many triggers may wait for their pictures; of a camera that answers none, the newest count."""


class Pending:
    """Triggers that no picture has answered yet. For several threads."""

    def __init__(self) -> None:
        self._times: deque[int] = deque(maxlen=_MOST)

    def given(self, when: int) -> None:
        """Notes a trigger.

        Args:
            when: Monotonic time in ns.
        """
        self._times.append(when)

    def answered(self, captured: int) -> tuple[int | None, int]:
        """Matches a picture with its trigger: the newest one before it. Older ones were not answered at all.

        Args:
            captured: Monotonic time in ns at which the picture was there.

        Returns:
            Time of its trigger, None where none is known; and how many triggers before it were in vain.
        """
        mine, vain = None, -1
        while self._times and self._times[0] <= captured:
            mine, vain = self._times.popleft(), vain + 1
        return mine, max(0, vain)


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
