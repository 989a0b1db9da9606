"""Folders of results by the time at which each was begun: segments of what consists of many files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from lineside.pipelines.names import printable
from lineside.pipelines.sinks.ages import Ages
from lineside.pipelines.sinks.disk import make_folders, remove_tree
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.naming import stamp
from lineside.pipelines.sinks.retention import Kept, expired, kept
from lineside.pipelines.sinks.world import World
from lineside.runtime.errors import SinkError

__all__ = ["DatedFolders", "dated_folders"]

_NAME = re.compile(r"\d{8}T\d{6}Z(?:-\d+)?", re.ASCII)


def dated_folders(path: Path) -> list[Path]:
    """The folders ``20261122T143005Z`` below a folder, oldest first."""
    found = path.iterdir() if path.is_dir() else iter(())
    return sorted(it for it in found if _NAME.fullmatch(it.name) and it.is_dir())


class DatedFolders:
    """Makes a folder when the first thing goes into it, a new one after each stretch of time, and removes the oldest.

    Args:
        path: The folder that holds them.
        rules: When a new one begins, and how long they stay.
        world: What it has around it.
    """

    def __init__(self, path: Path, rules: Rules, world: World = World()) -> None:
        self.path = path
        self._rules = rules
        self._disk, self._tell, self._now = world.disk, world.tell, world.now
        self._ages = Ages(world.now, world.steady)
        self._current: Path | None = None
        self._period = 0
        self._sizes: dict[Path, Kept] = {}
        self._made: dict[Path, int] = {}  # Those of this process in their order, whatever the clock said.

    def open(self) -> Iterator[Path]:
        """Makes the place, and gives the folders of earlier runs, before any of them is removed.

        Raises:
            SinkError: The place cannot be written to.
        """
        try:
            make_folders(self._disk, self.path)
        except OSError as error:
            raise SinkError(f"cannot write to {printable(str(self.path))}: {error.strerror}") from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise SinkError(f"cannot write to {printable(str(self.path))}: it is read-only; name another place")
        yield from dated_folders(self.path)
        self._expire()

    @property
    def due(self) -> bool:
        """Whether what comes next belongs into another folder, also because somebody has removed this one."""
        return self._current is None or self._period != self._present() or not self._current.is_dir()

    def current(self) -> Path:
        """The folder for what comes next, made where it is due.

        Raises:
            OSError: The disk says no.
        """
        if self._current is None or self.due:
            self._expire()
            path = next(path for path in self._names(stamp(self._now())) if not path.exists())
            make_folders(self._disk, path)
            self._current, self._period = path, self._present()
            self._made[path] = max(self._made.values(), default=0) + 1
        return self._current

    def _names(self, name: str) -> Iterator[Path]:
        yield self.path / name
        for number in count(2):
            yield self.path / f"{name}-{number}"

    def _present(self) -> int:
        return int(self._now() // self._rules.rotate_s) if self._rules.rotate_s else 0

    def _expire(self) -> None:
        """Removes what has to go. The folder that was filled until now counts as finished."""
        rules = self._rules
        if rules.keep_s is None and rules.keep_bytes is None:
            return
        try:
            paths = dated_folders(self.path)
            self._made = {path: number for path, number in self._made.items() if path in paths}
            paths.sort(key=lambda path: self._made.get(path, 0))
            found = [self._sizes.get(path) or kept(path) for path in paths]
            self._sizes = {it.path: it for it in found}  # Finished ones change no more: each is measured once.
            for it in expired(found, self._ages(), rules.keep_s, rules.keep_bytes):
                remove_tree(self._disk, it.path)
                del self._sizes[it.path]
                self._tell(
                    "info", "removed", f"{printable(str(it.path))} was removed: it is older than is kept, or more"
                )
        except OSError as error:
            self._tell(
                "warning", "not removed", f"an old folder in {printable(str(self.path))} stays: {error.strerror}"
            )
