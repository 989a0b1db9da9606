"""Progress of a running graph on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineside.pipelines.graph import Graph

__all__ = ["show_progress", "tell"]

_SECONDS = 5.0
"""Time between two plain lines."""
_BARS: list[Any] = []
"""The progress bar that owns the terminal's last line at the moment, if any."""


def tell(message: str) -> None:
    """Says one sentence on stderr, above the progress bar where there is one."""
    if _BARS:
        _BARS[-1].console.print(message, markup=False, highlight=False, soft_wrap=True)
    else:
        print(message, file=sys.stderr, flush=True)


@contextmanager
def show_progress(title: str) -> Iterator[Callable[[Graph], None]]:
    """Shows how far a graph is while the block runs.

    Args:
        title: What is being done.

    Yields:
        A function to call now and then with the graph.
    """
    if sys.stderr.isatty():
        with _bar(title) as show:
            yield show
        return
    begin = due = 0.0
    watched: Graph | None = None

    def say(graph: Graph) -> None:
        nonlocal begin, due, watched
        if graph is not watched:  # Neither the time for loading the model nor that of a graph before is this one's.
            watched, begin = graph, time.monotonic()
            due = begin + _SECONDS
        if time.monotonic() < due:
            return
        due += _SECONDS
        done, total = _counts(graph)
        rate = done / (time.monotonic() - begin)
        print(f"{title}: {done}{f' of {total}' if total else ''} frames, {rate:.1f} fps", file=sys.stderr, flush=True)

    yield say


@contextmanager
def _bar(title: str) -> Iterator[Callable[[Graph], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    begin = 0.0
    watched: Graph | None = None
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, note="")
        _BARS.append(bar)

        def draw(graph: Graph) -> None:
            nonlocal begin, watched
            if graph is not watched:
                watched, begin = graph, time.monotonic()
            done, total = _counts(graph)
            counts = graph.flow.counters.snapshot()
            lost = f", {counts.lost} lost" if counts.lost else ""
            rate = done / max(1e-3, time.monotonic() - begin)
            bar.update(task, completed=done, total=total, note=f"{rate:.1f} fps, {counts.detections} found{lost}")

        try:
            yield draw
        finally:
            _BARS.pop()


def _counts(graph: Graph) -> tuple[int, int | None]:
    """Frames that are through, and frames in all where that is known."""
    counts = graph.flow.counters.snapshot()
    return counts.entered - counts.in_flight, graph.stream.frames
