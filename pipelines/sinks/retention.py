"""Retention: the oldest results go when they are too old or too many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lineside.pipelines.sinks.disk import Disk, remove_tree

__all__ = ["Kept", "expire", "expired", "kept"]


@dataclass(frozen=True)
class Kept:
    """A finished segment.

    Attributes:
        path: File or folder.
        size: Bytes of it and all below it.
        last: When it was last written, in seconds since 1970.
    """

    path: Path
    size: int
    last: float


def kept(path: Path) -> Kept:
    """Looks at a segment.

    Raises:
        OSError: It is not there any more.
    """
    stats = [it.stat() for it in _files(path)] or [path.stat()]
    return Kept(path, sum(it.st_size for it in stats), max(it.st_mtime for it in stats))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for below in path.iterdir():
            yield from _files(below)
    else:
        yield path


def expired(
    segments: Sequence[Kept], now: float, keep_s: float | None, keep_bytes: int | None, growing: int = 0
) -> list[Kept]:
    """Which segments have to go.

    Args:
        segments: All of them, oldest first.
        now: Seconds since 1970.
        keep_s: Seconds that a segment is kept after it was last written; None for ever.
        keep_bytes: Most bytes of all together; None for any number.
        growing: Bytes of the one that is being written, which counts and stays.
    """
    total = growing + sum(it.size for it in segments)
    gone = []
    for it in segments:
        if (keep_s is not None and now - it.last > keep_s) or (keep_bytes is not None and total > keep_bytes):
            gone.append(it)
            total -= it.size
    return gone


def expire(
    disk: Disk, paths: Sequence[Path], now: float, keep_s: float | None, keep_bytes: int | None, growing: int = 0
) -> list[Path]:
    """Removes what has to go, see `expired`.

    Returns:
        What is gone.

    Raises:
        OSError: The disk says no.
    """
    if keep_s is None and keep_bytes is None:
        return []
    gone = [it.path for it in expired([kept(path) for path in paths], now, keep_s, keep_bytes, growing)]
    for path in gone:
        remove_tree(disk, path)
    return gone
