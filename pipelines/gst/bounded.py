"""Calls into drivers that may never come back, without waiting for them for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Errand"]


class Errand:
    """A call in a thread of its own. One that hangs is left behind; it keeps no process from ending.

    Args:
        call: What to do; must not raise.
        name: Name of the thread.
    """

    def __init__(self, call: Callable[[], object], name: str) -> None:
        self._done = threading.Event()
        self._call = call
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self._call()
        finally:
            # Whatever the call holds must go now, not when somebody forgets the errand.
            del self._call
            self._done.set()

    def wait(self, seconds: float) -> bool:
        """Waits until it is done; False where it was not in that time."""
        return self._done.wait(seconds)
