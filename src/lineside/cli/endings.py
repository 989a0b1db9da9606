"""SIGTERM and a closed terminal end a command the way Ctrl-C does, so that it tidies up behind itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["tidy_endings"]

_NAMES = ("SIGTERM", "SIGHUP")


@contextmanager
def tidy_endings() -> Iterator[None]:
    """Turns these signals into KeyboardInterrupt while the block runs; one that is ignored, as by nohup, stays so.

    Commands that know better what to do (``run``) put their own handlers in front.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
