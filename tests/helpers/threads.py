"""Tasks in threads of their own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence

PATIENCE = 60.0
"""Seconds after which a thread counts as stuck."""


def together(tasks: Sequence[Callable[[], object]]) -> list[BaseException]:
    """Runs the tasks in threads of their own, to their end; gives what they raised."""
    raised: list[BaseException] = []

    def run(task: Callable[[], object]) -> None:
        try:
            task()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(task,), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    return raised


def lets_others_run(work: Callable[[], object], times: int = 5000) -> bool:
    """Whether another thread runs while native code works.

    With the interpreter's own switching put off, it can only run while that code has let go of the interpreter.
    """
    waiting, go, ran = threading.Event(), threading.Event(), threading.Event()

    def other() -> None:
        waiting.set()
        go.wait()
        ran.set()

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=other)
    thread.start()
    waiting.wait()
    try:
        sys.setswitchinterval(1000)
        go.set()
        for _ in range(times):
            work()
            if ran.is_set():
                break
        return ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join()
