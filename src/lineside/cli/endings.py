"""SIGTERM and a closed terminal end a command the way Ctrl-C does, so that it tidies up behind itself.

A library that is called from Python and calls back may swallow the KeyboardInterrupt that a signal raises in it: OpenCV
does, while it reads its arguments. So the signal is remembered too, and whatever reports progress raises it again.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["check_ending", "tidy_endings"]

_NAMES = ("SIGTERM", "SIGHUP")

_received = threading.Event()


@contextmanager
def tidy_endings() -> Iterator[None]:
    """Turns these signals into KeyboardInterrupt while the block runs; one that is ignored, as by nohup, stays so.

    See `check_ending` for those that come at a bad moment.

    Commands that know better what to do (``run``) put their own handlers in front.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    usual: dict[int, Any] = dict.fromkeys(numbers, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    taken = {number: handler for number, handler in usual.items() if signal.getsignal(number) is handler}
    _received.clear()
    for number in taken:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


def check_ending() -> None:
    """Raises the KeyboardInterrupt of a signal that has come and was swallowed.

    Raises:
        KeyboardInterrupt: A signal asked for the end of this command.
    """
    if _received.is_set():
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.set()
    raise KeyboardInterrupt
