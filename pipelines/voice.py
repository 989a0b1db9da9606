"""What is said to the user goes through a thread of its own: who does not listen (a full pipe, Ctrl-S) holds nobody up."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

__all__ = ["Voice"]

_MOST = 1000
"""So many sentences may wait; what comes then is not said."""
_GRACE = 2.0
"""Seconds that the user gets for the last ones."""


class Voice:
    """Says one thing after the other; a context manager, at whose end all is said, or the user does not listen.

    Args:
        say: Says a sentence; may take its time, or fail.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(_MOST)
        self._thread = threading.Thread(target=self._run, name="voice", daemon=True)

    def __enter__(self) -> Voice:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_GRACE)
            self._thread.join(_GRACE)

    def say(self, message: str) -> None:
        """Says a sentence soon. Returns at once."""
        self.do(partial(self._say, message))

    def do(self, act: Callable[[], None], *, idle: bool = False) -> None:
        """Does something that may hold up who does it, in its turn. Returns at once.

        Args:
            act: Does it.
            idle: Only where nothing else is to be done: there will be another of its kind soon.
        """
        if idle and self._waiting.unfinished_tasks:
            return
        with suppress(queue.Full):
            self._waiting.put_nowait(act)

    def _run(self) -> None:
        while (act := self._waiting.get()) is not None:
            with suppress(Exception):  # a reader who has left is none of the station's business
                act()
            self._waiting.task_done()
