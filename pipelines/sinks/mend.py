"""Puts in order what a process that was cut off has left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lineside.pipelines.sinks.disk import Disk

__all__ = ["mend"]


def mend(
    disk: Disk, part: Path, name: Callable[[Path], Path], whole: Callable[[Path], int], header: int = 0
) -> tuple[Path, str] | None:
    """Cuts an unfinished file to its whole records and gives it a name; one without records is removed.

    Args:
        disk: The disk.
        part: The file.
        name: Says what it will be called.
        whole: How many bytes from its beginning a file's whole records take.
        header: Bytes of those that are no record.

    Returns:
        Its new name, and what was done to it as the end of a sentence; None where it was removed.

    Raises:
        BlockingIOError: Another process is writing it.
        OSError: The disk says no.
    """
    handle = disk.reopen(part)
    try:
        before, length = part.stat().st_size, whole(part)
        if length <= header:
            disk.unlink(part)
            return None
        if length < before:
            disk.truncate(handle, length)
        disk.sync(handle)
        path = name(part)
        disk.rename(part, path)
        disk.sync_folder(path.parent)
    finally:
        disk.close(handle)
    return path, f"; {before - length} bytes of half a record were cut off" if length < before else ""
