"""Progress on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from lineside.cli.endings import check_ending

__all__ = ["Update", "progress"]


class Update(Protocol):
    """What `progress` hands out."""

    def __call__(self, done: float, total: float, note: str = "") -> None:
        """Tells how much is done, and optionally something about it.

        Raises:
            KeyboardInterrupt: A signal has asked for the end, see `lineside.cli.endings`.
        """


@contextmanager
def progress(title: str, every: float = 5.0) -> Iterator[Update]:
    """Shows the progress of one long task while the block runs.

    Args:
        title: What is being done, e.g. ``drawing``.
        every: Time between two plain lines, s.

    Yields:
        A function to call with what is done and what there is in all.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=None, note="")

            def draw(done: float, total: float, note: str = "") -> None:
                check_ending()
                bar.update(task, completed=done, total=total, note=note)

            yield draw
        return

    state = {"next": time.monotonic() + every}

    def say(done: float, total: float, note: str = "") -> None:
        check_ending()
        if done >= total or time.monotonic() >= state["next"]:
            state["next"] = time.monotonic() + every
            print(f"{title}: {100 * done / total:.0f}% {note}".rstrip(), file=sys.stderr, flush=True)

    yield say
