"""Ctrl-C, the polite kill and a terminal that goes away, turned into a request that the main loop reads."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Signals", "catch_signals"]


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
