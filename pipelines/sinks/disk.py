"""The few operations on a disk that a station's files are made of: the seam at which tests record and refuse them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Protocol

__all__ = ["Disk", "SystemDisk", "make_folders", "remove_tree"]


class Disk(Protocol):
    """Everything that changes a disk. Reading is nobody's business here.

    What a write has returned from outlives the process, also its SIGKILL. What has been synced outlives a loss of power;
    the name of a file does so once its folder has been synced. Every call raises OSError where the system says no.
    """

    def make_folder(self, path: Path) -> None:
        """Makes one folder, whose parent is there; nothing happens where it exists."""
        ...

    def create(self, path: Path) -> int:
        """Makes a file that was not there and locks it against other processes.

        Returns:
            A handle for the calls below.
        """
        ...

    def reopen(self, path: Path) -> int:
        """Opens and locks a file that an earlier process left behind.

        Raises:
            BlockingIOError: Another process is writing it at this moment.
        """
        ...

    def write(self, handle: int, data: bytes) -> None:
        """Adds all bytes at the end, or raises; some may have been written then."""
        ...

    def truncate(self, handle: int, size: int) -> None:
        """Cuts a file to a size and goes on writing from there."""
        ...

    def sync(self, handle: int) -> None:
        """Returns when the content of a file lies on the disk itself."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Returns when the names in a folder lie on the disk itself."""
        ...

    def close(self, handle: int) -> None:
        """Closes a file; its lock goes with it."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Gives a file or folder another name; a file of that name goes."""
        ...

    def unlink(self, path: Path) -> None:
        """Removes a file."""
        ...

    def remove_folder(self, path: Path) -> None:
        """Removes an empty folder."""
        ...

    def room(self, folder: Path) -> int:
        """Bytes that may still be written to the file system of a folder."""
        ...


class SystemDisk:
    """The operating system's own calls, unbuffered: see `Disk`."""

    def make_folder(self, path: Path) -> None:
        """See `Disk.make_folder`."""
        path.mkdir(exist_ok=True)

    def create(self, path: Path) -> int:
        """See `Disk.create`."""
        return _locked(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))

    def reopen(self, path: Path) -> int:
        """See `Disk.reopen`."""
        handle = _locked(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
        os.lseek(handle, 0, os.SEEK_END)
        return handle

    def write(self, handle: int, data: bytes) -> None:
        """See `Disk.write`."""
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]

    def truncate(self, handle: int, size: int) -> None:
        """See `Disk.truncate`."""
        os.ftruncate(handle, size)
        os.lseek(handle, size, os.SEEK_SET)

    def sync(self, handle: int) -> None:
        """See `Disk.sync`."""
        os.fsync(handle)

    def sync_folder(self, path: Path) -> None:
        """See `Disk.sync_folder`."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def close(self, handle: int) -> None:
        """See `Disk.close`."""
        os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        """See `Disk.rename`."""
        os.replace(old, new)

    def unlink(self, path: Path) -> None:
        """See `Disk.unlink`."""
        os.unlink(path)

    def remove_folder(self, path: Path) -> None:
        """See `Disk.remove_folder`."""
        os.rmdir(path)

    def room(self, folder: Path) -> int:
        """See `Disk.room`. What is kept for root does not count."""
        stat = os.statvfs(folder)
        return stat.f_bavail * stat.f_frsize


def _locked(handle: int) -> int:
    """A file locked for this handle alone; where the file system knows no locks it goes without."""
    if sys.platform == "win32":
        return handle
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        pass
    return handle


def make_folders(disk: Disk, path: Path) -> None:
    """Makes a folder and those above it, so that they outlive a loss of power.

    Raises:
        OSError: The disk says no.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        disk.make_folder(folder)
        disk.sync_folder(folder.parent)


def remove_tree(disk: Disk, path: Path) -> None:
    """Removes a file, or a folder with all that is in it.

    Raises:
        OSError: The disk says no.
    """
    if path.is_symlink() or not path.is_dir():
        disk.unlink(path)
        return
    for below in sorted(path.iterdir()):
        remove_tree(disk, below)
    disk.remove_folder(path)
