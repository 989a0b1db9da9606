"""What a station does at this moment, on stderr: a table that lives on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import io
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from lineside.cli.counting import COLUMNS, brief, named, numbers
from lineside.cli.live import tell

if TYPE_CHECKING:
    from lineside.pipelines.counters import SinkCounts, Snapshot
    from lineside.pipelines.elements import SourceState
    from lineside.pipelines.looks import BranchName
    from lineside.pipelines.runner import Runner

__all__ = ["Rates", "show_station"]

_SECONDS = 5.0
"""Time between two plain lines."""
_REFRESH = 0.5
"""Seconds between two pictures of the table."""
_GRACE = 2.0
"""Seconds that a terminal has to take the last one."""
_COLOURS = {"RUNNING": "green", "CONNECTING": "cyan", "STALLED": "bold red", "BACKOFF": "yellow"}
_FAULTS = ("late", "incomplete", "never inspected", "failed")
"""Counts that are worth a colour as soon as they are not zero."""
_ALWAYS = ("entered", "inspected", "in flight")
_WIDE = 120
"""Columns that a terminal needs for all counts; a smaller one shows those that are not zero, and these."""

Say = Callable[[str], None]
Show = Callable[["Runner"], None]


@contextmanager
def show_station(title: str) -> Iterator[tuple[Say, Show]]:
    """Shows what a station does while the block runs.

    Args:
        title: What the station is called.

    Yields:
        Two functions: one says a sentence, one is called now and then with the running graph.
    """
    if not sys.stderr.isatty():
        yield tell, _plain()
        return
    from rich.console import Console

    # A file of its own: a thread that hangs in it must not keep the interpreter from its end.
    file = io.TextIOWrapper(os.fdopen(os.dup(sys.stderr.fileno()), "wb", 0), "utf-8", write_through=True)
    console = Console(file=file)
    if console.is_dumb_terminal:
        file.close()
        yield tell, _plain()
        return
    board = _Board(title, console)
    try:
        yield board.say, board.show
    finally:
        board.close()


def _plain() -> Show:
    """Says every few seconds what each source has come to."""
    due = time.monotonic() + _SECONDS

    def show(runner: Runner) -> None:
        nonlocal due
        if time.monotonic() < due:
            return
        due += _SECONDS
        states = runner.states()
        for name, counts in runner.snapshot().items():
            print(f"{named(name)}: {states[name.source]}, {brief(counts)}", file=sys.stderr, flush=True)

    return show


class Rates:
    """Results per second, over the last seconds.

    Args:
        window: Over how many.
        now: Monotonic clock in seconds.
    """

    def __init__(self, window: float = 5.0, now: Callable[[], float] = time.monotonic) -> None:
        self._window = window
        self._now = now
        self._seen: dict[BranchName, deque[tuple[float, int]]] = {}

    def __call__(self, name: BranchName, counts: Snapshot) -> float:
        """Takes note of the counts of this moment.

        Args:
            name: Whose they are.
            counts: The counts.

        Returns:
            Results per second.
        """
        now = self._now()
        seen = self._seen.setdefault(name, deque())
        seen.append((now, counts.decided))
        while len(seen) > 2 and seen[1][0] <= now - self._window:
            seen.popleft()
        (begin, before), (end, after) = seen[0], seen[-1]
        return (after - before) / (end - begin) if end > begin else 0.0


class _Board:
    """A table on a terminal, drawn by a thread of its own: a terminal that stands still holds nobody up.

    Args:
        title: What the station is called.
        console: The terminal.
    """

    def __init__(self, title: str, console: Any) -> None:
        self._title = title
        self._console = console
        self._error = sys.stderr.fileno()
        self._begin = time.monotonic()
        self._runner: Runner | None = None
        self._last = ""
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._over = threading.Event()
        self._rates = Rates()
        self._thread = threading.Thread(target=self._run, name="board", daemon=True)
        self._thread.start()

    def say(self, message: str) -> None:
        """Says a sentence, above the table; it also stands in the table until the next one."""
        self._said.put(message)

    def show(self, runner: Runner) -> None:
        """Takes note of the graph that is shown."""
        self._runner = runner

    def close(self) -> None:
        """Says what is still to be said, and takes the table away."""
        self._over.set()
        self._thread.join(_GRACE)
        if self._thread.is_alive():
            # A terminal that is held (Ctrl-S) would hold up whatever else is said at the end.
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._error)

    def _run(self) -> None:
        from rich.live import Live

        live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=sys.stdout.isatty())
        with self._console.file, suppress(OSError), live:  # the terminal may go, and the station goes on
            while True:
                over = self._over.wait(_REFRESH)
                with suppress(queue.Empty):
                    while True:
                        self._last = self._said.get_nowait()
                        live.console.print(self._last, markup=False, highlight=False, soft_wrap=True)
                if over:
                    return
                if self._runner is not None:
                    live.update(self._picture(self._runner), refresh=True)

    def _picture(self, runner: Runner) -> Any:
        """What stands on the terminal."""
        from rich.console import Group
        from rich.text import Text

        counts, states = runner.snapshot(), runner.states()
        parts = [self._sources(counts, states)]
        sinks = _sinks_of(runner, counts)
        if sinks:
            parts.append(_sinks(sinks))
        if self._last:
            parts.append(Text(f"last said: {self._last}", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)

    def _sources(self, counts: Mapping[BranchName, Snapshot], states: Mapping[str, SourceState]) -> Any:
        from rich.text import Text

        title = f"{self._title}, {_duration(time.monotonic() - self._begin)}"
        rows = {name: dict(zip(COLUMNS, numbers(each), strict=True)) for name, each in counts.items()}
        wide = self._console.width >= _WIDE
        shown = [it for it in COLUMNS if wide or it in _ALWAYS or any(row[it] for row in rows.values())]
        table = _table(title, ("source", "state", ">fps", *(f">{label}" for label in shown)))
        for name, each in counts.items():
            state = states[name.source]
            cells = [Text(str(rows[name][it]), "red" if rows[name][it] and it in _FAULTS else "") for it in shown]
            rate = Text(f"{self._rates(name, each):.1f}")
            table.add_row(Text(named(name)), Text(state, _COLOURS.get(state, "dim")), rate, *cells)
        for source in sorted(set(states) - {name.source for name in counts}):
            table.add_row(Text(source), Text(states[source], _COLOURS.get(states[source], "dim")))
        return table


def _sinks_of(runner: Runner, counts: Mapping[BranchName, Snapshot]) -> list[tuple[str, str, SinkCounts]]:
    """Every way to a sink: where it begins, the sink, and its counts."""
    found = [(named(name), sink, it) for name, each in counts.items() for sink, it in each.sinks.items()]
    passages = {name: passage.counters.snapshot() for name, passage in runner.passages.items()}
    return [*found, *((name, sink, it) for name, each in passages.items() for sink, it in each.sinks.items())]


def _sinks(rows: list[tuple[str, str, SinkCounts]]) -> Any:
    from rich.text import Text

    table = _table("", ("from", "sink", ">written", ">dropped", ">failed", ">waiting"))
    for name, sink, it in rows:
        failed = Text(str(it.failed), "red" if it.failed else "")
        table.add_row(Text(name), Text(sink), str(it.written), str(it.dropped), failed, str(it.waiting))
    return table


def _table(title: str, columns: tuple[str, ...]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, "bold") if title else None, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for column in columns:
        right = column.startswith(">")
        table.add_column(
            column.removeprefix(">"), justify="right" if right else "left", overflow="fold", no_wrap=column == "state"
        )
    return table


def _duration(seconds: float) -> str:
    """A time as a clock shows it: ``2 d 03:04:05``."""
    days, rest = divmod(int(seconds), 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days} d {clock}" if days else clock
