"""SIGTERM and a closed terminal end a command the way Ctrl-C does, so that it tidies up behind itself.

A library that is called from Python and calls back may swallow the KeyboardInterrupt that a signal raises in it: OpenCV
does, while it reads its arguments. So the signal is remembered too, and whatever reports progress raises it again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

__all__ = ["check_ending", "leave", "tidy_endings"]

_NAMES = ("SIGTERM", "SIGHUP")

_HANGING = ("bundle", "capture ", "lane ", "sink ", "source ", "start", "stop ", "voice")
"""How the names of the threads begin that a graph leaves behind where they hang."""

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


def leave(code: int) -> int:
    """To be called right before the end of the process; ends it here where a thread hangs.

    Python's own farewell would wait for what such a thread holds (the lock of a stream that nobody reads), or end in a
    crash of the library that it hangs in.

    Args:
        code: What the process is to exit with.

    Returns:
        The same.
    """
    if any(thread.daemon and thread.name.startswith(_HANGING) for thread in threading.enumerate()):
        with suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        os._exit(code)
    return code


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.set()
    raise KeyboardInterrupt
