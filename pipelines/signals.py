"""Ctrl-C, the polite kill and a terminal that goes away, turned into a request that the main loop reads."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

__all__ = ["Signals", "catch_signals", "patiently"]

T = TypeVar("T")

_LOOK = 0.1
"""Seconds between two looks at whether a signal has come."""


class Signals:
    """The stop signals that have arrived.

    The handler only appends to a list: it may interrupt the main thread anywhere, also while that holds a lock.
    """

    def __init__(self) -> None:
        self.received: list[str] = []

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.received.append(signal.Signals(number).name)


@contextmanager
def catch_signals() -> Iterator[Signals]:
    """Notes SIGINT, SIGTERM and SIGHUP instead of dying of them while the block runs. Main thread only.

    A SIGHUP that is ignored stays so: that is how ``nohup`` lets a program outlive its terminal.
    """
    signals = Signals()
    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        numbers.append(hangup)
    before = {number: signal.signal(number, signals._handle) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def patiently(work: Callable[[], T], signals: Signals, grace: float) -> T:
    """Does something that may hang, in a thread of its own, so that signals are heard meanwhile. Main thread only.

    Args:
        work: Does it.
        signals: The signals that have arrived.
        grace: Seconds that it has to end after the first one.

    Returns:
        What ``work`` returns.

    Raises:
        KeyboardInterrupt: It did not end in that time, or a second signal came; it is left behind.
        BaseException: What ``work`` raises.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="start", daemon=True)
    thread.start()
    until: float | None = None
    while thread.is_alive():
        thread.join(_LOOK)
        if until is None and signals.received:
            until = time.monotonic() + grace
        if until is not None and thread.is_alive() and (len(signals.received) > 1 or time.monotonic() > until):
            raise KeyboardInterrupt
    if failed:
        raise failed[0]
    return done[0]
