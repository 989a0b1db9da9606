"""Locks on folders that the system gives up with the process that held them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["lock_folder"]


def lock_folder(folder: Path) -> int | None:
    """Takes a folder for this process alone, until the file descriptor is closed or the process ends.

    Only those who ask for the same lock are kept out. No file is left behind, and no lock outlives a kill.

    Args:
        folder: A folder that exists.

    Returns:
        A file descriptor to close; None where this file system or this user's rights know no such lock.

    Raises:
        FileNotFoundError: The folder is not there, or went away just now.
        BlockingIOError: Another process has it.
        OSError: It is no folder.
    """
    if sys.platform == "win32":  # There are no such locks.
        return None
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have removed the folder before it let go.
        if os.fstat(handle).st_nlink == 0 or not os.path.samestat(os.fstat(handle), os.stat(folder)):
            raise FileNotFoundError(f"{folder} was removed")
    except (BlockingIOError, FileNotFoundError):
        os.close(handle)
        raise
    except OSError:
        os.close(handle)
        return None
    return handle
