"""A disk that loses its power: records what was done to it, and gives the states that may be left.

What POSIX promises, and ext4 and XFS as they are, is taken at its weakest: the content of a file is there as far as it
was synced, beyond that it may be cut at any byte and hold zeros where a block was never written; names made, changed or
removed since their folder was synced may be there or not, in any order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lineside.pipelines.sinks.disk import SystemDisk

BLOCK = 512
"""Bytes that are written or lost together."""


class Op(NamedTuple):
    """One thing that was done: its kind and what it was done to."""

    kind: str
    what: Any = None
    more: Any = None


class RecordingDisk(SystemDisk):
    """A disk that works and notes everything; syncs are noted and not carried out, for speed.

    Args:
        found: A folder with what lies there already, all of it safe.

    Attributes:
        trace: What was done, in order, with the marks of the test between.
    """

    def __init__(self, found: Path | None = None) -> None:
        self.trace: list[Op] = []
        self._files: dict[int, int] = {}
        self._names: dict[Path, int] = {}
        self._count = 0
        for path in sorted(found.rglob("*")) if found is not None else ():
            if path.is_dir():
                self.trace.append(Op("folder there", path))
            else:
                self._count += 1
                self._names[path] = self._count
                self.trace.append(Op("file there", path, (self._count, path.read_bytes())))

    def mark(self, kind: str, what: Any = None) -> None:
        """Notes where the test stands."""
        self.trace.append(Op(kind, what))

    def make_folder(self, path: Path) -> None:
        super().make_folder(path)
        self.trace.append(Op("folder", path))

    def create(self, path: Path) -> int:
        handle = super().create(path)
        self._count += 1
        self._files[handle] = self._names[path] = self._count
        self.trace.append(Op("create", path, self._count))
        return handle

    def reopen(self, path: Path) -> int:
        handle = super().reopen(path)
        self._files[handle] = self._names[path]
        return handle

    def write(self, handle: int, data: bytes) -> None:
        super().write(handle, data)
        self.trace.append(Op("write", self._files[handle], bytes(data)))

    def truncate(self, handle: int, size: int) -> None:
        super().truncate(handle, size)
        self.trace.append(Op("truncate", self._files[handle], size))

    def sync(self, handle: int) -> None:
        self.trace.append(Op("sync", self._files[handle]))

    def sync_folder(self, path: Path) -> None:
        self.trace.append(Op("sync folder", path))

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        file = self._names[new] = self._names.pop(old)
        self.trace.append(Op("rename", (old, new), file))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.trace.append(Op("unlink", path))

    def remove_folder(self, path: Path) -> None:
        super().remove_folder(path)
        self.trace.append(Op("remove folder", path))


@dataclass
class _File:
    """Content of a file: what is safe, and the writes and cuts since."""

    safe: bytearray = field(default_factory=bytearray)
    since: list[Op] = field(default_factory=list)


def _apply(content: bytearray, op: Op) -> None:
    if op.kind == "write":
        content += op.more
    elif op.kind == "truncate":
        _resize(content, op.more)
    else:
        place, data = op.more
        _resize(content, max(len(content), place + len(data)))
        content[place : place + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


Names = Literal["ordered", "any"]


class Wreck:
    """What lies on the disk when the power goes.

    Args:
        trace: What was done up to then.
    """

    def __init__(self, trace: list[Op]) -> None:
        self.files: dict[int, _File] = {}
        self.safe: dict[Path, int | None] = {}
        self.since: list[Op] = []
        for op in trace:
            self._do(op)

    def _do(self, op: Op) -> None:
        if op.kind == "folder there":
            self.safe[op.what] = None
        elif op.kind == "file there":
            self.safe[op.what], self.files[op.more[0]] = op.more[0], _File(bytearray(op.more[1]))
        elif op.kind in ("folder", "create", "rename", "unlink", "remove folder"):
            self.since.append(op)
            if op.kind == "create":
                self.files[op.more] = _File()
        elif op.kind in ("write", "write at", "truncate"):
            self.files[op.what].since.append(op)
        elif op.kind == "sync":
            file = self.files[op.what]
            for change in file.since:
                _apply(file.safe, change)
            file.since = []
        elif op.kind == "sync folder":
            for name in self.since:
                if _folder(name) == op.what:
                    _name(self.safe, name)
            self.since = [name for name in self.since if _folder(name) != op.what]

    def build(self, rng: random.Random, names: Names, old: Path, new: Path, *, but: str = "") -> None:
        """Builds one of the states that may be left.

        Args:
            rng: Chooses it.
            names: Whether changes of names are there in their order up to some moment, or any of them.
            old: Folder in which everything was done.
            new: Folder to build it in.
            but: Ending of the files that are left out, if any.
        """
        found = dict(self.safe)
        until = rng.randint(0, len(self.since))
        for number, op in enumerate(self.since):
            if number < until if names == "ordered" else rng.random() < 0.5:
                _name(found, op)
        for path, file in sorted(found.items(), key=lambda it: len(it[0].parts)):
            place = new / path.relative_to(old)
            if file is None:
                place.mkdir(parents=True, exist_ok=True)
            elif (path.parent == old or path.parent in found) and not (but and path.name.endswith(but)):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(_left(self.files[file], rng))


def _folder(op: Op) -> Path:
    path = op.what[0] if op.kind == "rename" else op.what
    return path.parent  # Nothing here moves from one folder to another.


def _name(names: dict[Path, int | None], op: Op) -> None:
    if op.kind == "folder":
        names[op.what] = None
    elif op.kind == "create":
        names[op.what] = op.more
    elif op.kind == "rename":
        names.pop(op.what[0], None)
        names[op.what[1]] = op.more
    else:
        names.pop(op.what, None)


def _left(file: _File, rng: random.Random) -> bytes:
    """What is left of a file: all that was synced, and some of the rest."""
    content = bytearray(file.safe)
    if any(op.kind == "write at" for op in file.since):
        for op in file.since:
            _perhaps(content, op, rng)
        return bytes(content)
    how = rng.choice(("cut", "holes", "both"))
    for op in file.since[: len(file.since) if how == "holes" else rng.randint(0, len(file.since))]:
        _apply(content, op)
    safe = min(len(file.safe), len(content))
    if how != "holes":
        del content[rng.randint(safe, len(content)) :]
    if how == "cut":
        return bytes(content)
    for begin in range(safe - safe % BLOCK, len(content), BLOCK):
        if rng.random() < 0.5:
            first, last = max(begin, safe), min(begin + BLOCK, len(content))
            content[first:last] = bytes(last - first)
    return bytes(content)


def _perhaps(content: bytearray, op: Op, rng: random.Random) -> None:
    """A write into the middle of a file is there, or not, or some blocks of it."""
    chance = rng.random()
    if op.kind == "write at" and chance < 0.1:
        place, data = op.more
        op = Op(op.kind, op.what, (place, data[: BLOCK * rng.randint(0, len(data) // BLOCK)]))
    if chance < 0.6:
        _apply(content, op)


def moments(trace: list[Op], rng: random.Random, most: int) -> Iterator[int]:
    """Lengths of the trace at which the power goes: all of them, or as many as are asked for, the whole one always."""
    every = range(len(trace) + 1)
    yield from every if len(every) <= most else sorted({len(trace), *rng.sample(every, most - 1)})
