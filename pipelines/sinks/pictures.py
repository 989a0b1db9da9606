"""Many small files, each of them whole or not there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lineside.pipelines.names import printable
from lineside.pipelines.sinks.disk import Disk
from lineside.pipelines.sinks.floor import Tell
from lineside.pipelines.sinks.naming import PART
from lineside.runtime.errors import SinkError

__all__ = ["PictureFiles", "mend_pictures", "whole_picture"]

_MOST = 64
"""Files that may wait for a sync; each has a descriptor."""
_ENDS = (b"\xff\xd9", b"IEND\xaeB`\x82")
"""Last bytes of a JPEG and of a PNG."""
_LOST = bytes(512)
"""A block of a disk that was never written. No compressed picture has so many zeros in a row."""


class _Waiting(NamedTuple):
    path: Path
    handle: int


class PictureFiles:
    """Writes files that get their names only when their content lies on the disk.

    Several are synced together: `write` is called from one thread, `sync` from any.

    Args:
        disk: The disk.
        tell: Told when the disk does not take what it was given.
    """

    def __init__(self, disk: Disk, tell: Tell) -> None:
        self._disk = disk
        self._tell = tell
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._waiting: list[_Waiting] = []

    def write(self, path: Path, data: bytes) -> None:
        """Writes a file; it has its name after the next `sync`, and ``….part`` until then.

        Raises:
            SinkError: The disk says no, or is full. Nothing is left of the file.
        """
        part = path.with_name(path.name + PART)
        try:
            handle = self._disk.create(part)
            try:
                self._disk.write(handle, data)
            except OSError:
                self._disk.close(handle)
                with suppress(OSError):
                    self._disk.unlink(part)
                raise
        except OSError as error:
            raise SinkError(
                f"cannot write {printable(str(path))}: {error.strerror or error}; free some space or name another place"
            ) from error
        with self._lock:
            self._waiting.append(_Waiting(path, handle))
            full = len(self._waiting) >= _MOST
        if full:
            self.sync()

    def sync(self) -> None:
        """Forces what was written onto the disk and gives it its names. Tells where the disk says no."""
        with self._syncing:
            with self._lock:
                waiting, self._waiting = self._waiting, []
            folders = {it.path.parent for it in waiting if self._settle(it)}
            for folder in sorted(folders):
                self._settle_names(folder)

    def _settle_names(self, folder: Path) -> None:
        try:
            self._disk.sync_folder(folder)
        except OSError as error:
            self._failed(folder, error)

    def _settle(self, file: _Waiting) -> bool:
        """Brings one file to an end; False where that failed."""
        try:
            self._disk.sync(file.handle)
            self._disk.rename(file.path.with_name(file.path.name + PART), file.path)
        except OSError as error:
            self._failed(file.path, error)
            return False
        finally:
            with suppress(OSError):
                self._disk.close(file.handle)
        return True

    def _failed(self, path: Path, error: OSError) -> None:
        self._tell(
            "error",
            "sync failed",
            f"the disk did not take {printable(str(path))} ({error.strerror}): it may be lost; check the disk",
        )


def whole_picture(data: bytes) -> bool:
    """Whether the bytes of a JPEG or PNG are all there."""
    return data.endswith(_ENDS) and _LOST not in data


def mend_pictures(disk: Disk, folder: Path, whole: Callable[[Path], bool]) -> int:
    """Gives unfinished pictures in a folder their names where they are whole, and removes them where not.

    Those that another process is writing are left alone.

    Args:
        disk: The disk.
        folder: The folder.
        whole: Whether an unfinished file is all there.

    Returns:
        How many were removed.

    Raises:
        OSError: The disk says no.
    """
    removed = 0
    for part in sorted(it for it in folder.iterdir() if it.name.endswith(PART)):
        try:
            handle = disk.reopen(part)
        except BlockingIOError:
            continue
        try:
            if whole(part):
                disk.sync(handle)
                disk.rename(part, part.with_name(part.name[: -len(PART)]))
            else:
                disk.unlink(part)
                removed += 1
        finally:
            disk.close(handle)
    disk.sync_folder(folder)
    return removed
