"""Names of segments: the UTC time at which each begins stands in its name."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

__all__ = ["Naming", "stamp"]

PART = ".part"


def stamp(when: float) -> str:
    """A moment as it stands in names: ``20261122T143005Z``.

    Args:
        when: Seconds since 1970.
    """
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(when))


class Naming:
    """Names made of one path: ``results.jsonl`` gives ``results-20261122T143005Z.jsonl``, and ``….part`` while it grows.

    Args:
        path: The path as a user wrote it.
        taken: Says of a name that nothing has yet whether it is spoken for nevertheless.
    """

    def __init__(self, path: Path, taken: Callable[[Path], bool] = lambda path: False) -> None:
        self.path = path
        self._taken = taken
        self._pattern = re.compile(
            rf"{re.escape(path.stem)}-(\d{{8}}T\d{{6}}Z)(?:-(\d+))?{re.escape(path.suffix)}", re.ASCII
        )
        self._made: dict[str, int] = {}  # Names given in this process, in that order, whatever the clock said.

    def fresh(self, when: float) -> Path:
        """A segment's name that nothing has yet, neither finished nor growing.

        Args:
            when: The moment at which it begins, in seconds since 1970.
        """
        stem = f"{self.path.stem}-{stamp(when)}"
        for number in count(1):
            path = self.path.with_name(f"{stem}{f'-{number}' if number > 1 else ''}{self.path.suffix}")
            if not self._used(path):
                break
        self.note(path)
        return path

    def note(self, path: Path) -> None:
        """Says that a segment begins under a name that somebody else has given."""
        self._made.pop(path.name, None)
        self._made[path.name] = max(self._made.values(), default=0) + 1

    def exact(self, when: float) -> Path:
        """The very name that the user gave, or a fresh one where something has that."""
        return self.fresh(when) if self._used(self.path) else self.path

    def _used(self, path: Path) -> bool:
        return path.exists() or path.with_name(path.name + PART).exists() or self._taken(path)

    def segments(self) -> list[Path]:
        """Finished segments, oldest first: those of earlier processes by name, then those of this one in their order."""
        found = self._found("")
        there = {it.name for it in found} | {it.name.removesuffix(PART) for it in self.parts()}
        self._made = {name: number for name, number in self._made.items() if name in there}
        return found

    def parts(self) -> list[Path]:
        """Segments that are growing, or that somebody who was cut off has left behind."""
        own = self.path.with_name(self.path.name + PART)
        return self._found(PART) + ([own] if own.exists() else [])

    def _found(self, ending: str) -> list[Path]:
        if not self.path.parent.is_dir():
            return []
        names = (it for it in self.path.parent.iterdir() if it.name.endswith(ending))
        found = [(it, self._pattern.fullmatch(it.name[: len(it.name) - len(ending)])) for it in names]
        ages = {it: self._age(match) for it, match in found if match is not None}
        return sorted(ages, key=ages.__getitem__)

    def _age(self, name: re.Match[str]) -> tuple[int, str, int]:
        """What segments are sorted by, oldest first."""
        return self._made.get(name[0], 0), name[1], int(name[2] or 1)
