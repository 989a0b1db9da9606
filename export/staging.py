"""Writes a folder in full or not at all."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lineside.runtime.errors import SinkError
from lineside.runtime.locks import lock_folder

__all__ = ["check_target", "staged"]


def check_target(target: Path, force: bool) -> None:
    """Checks, before any work, that a folder can be written under this name.

    Args:
        target: The final name.
        force: Replace a bundle that is there already.

    Raises:
        SinkError: Something is there already, or the folder above is missing or cannot be written.
    """
    if target.exists() or target.is_symlink():
        if not force:
            raise SinkError(f"{target} exists already: choose another name with -o, or replace it with --force")
        if not target.is_dir() or target.is_symlink() or not (target / "manifest.json").is_file():
            raise SinkError(f"{target} exists and is not a bundle, so --force does not replace it: choose another name")
    parent = target.absolute().parent
    if not parent.is_dir():
        raise SinkError(f"there is no folder {parent} to write {target.name} into: make it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise SinkError(f"the folder {parent} cannot be written: choose another place with -o")


@contextmanager
def staged(target: Path, force: bool = False) -> Iterator[Path]:
    """A temporary sibling folder that takes the final name when the block ends well, and goes away when it does not.

    What others have left of it that were killed goes away as well; a lock tells them from those that are at work.

    Args:
        target: The final name.
        force: Replace a bundle that is there already; the old one stays until the new one is complete.

    Yields:
        The folder to write into.

    Raises:
        SinkError: See `check_target`; or the disk refused.
    """
    _sweep(target.absolute())
    check_target(target, force)
    target = target.absolute()
    lock = None
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    except OSError as error:
        raise SinkError(f"{target.parent} cannot be written ({error.strerror}): choose another place") from error
    try:
        lock = lock_folder(scratch)
        yield scratch
        scratch.chmod(0o755)  # mkdtemp makes it for its owner alone
        _rename(scratch, target, force)
    except OSError as error:
        raise SinkError(
            f"{target} could not be written ({error.strerror or error}): free some space or choose another place"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _sweep(target: Path) -> None:
    """Removes the hidden folders of those who were killed while they wrote this bundle.

    Where one was killed between putting the old bundle aside and giving the new one its name, the old one comes back.
    """
    for left in target.parent.glob(f"{glob.escape(f'.{target.name}.')}*"):
        if left.suffix not in (".part", ".old") or not left.is_dir() or left.is_symlink():
            continue
        with suppress(OSError):
            lock = lock_folder(left)
            if lock is None:  # Nobody can tell whether somebody is at work there.
                continue
            try:
                if left.suffix == ".old" and (left / "bundle").is_dir() and not os.path.lexists(target):
                    (left / "bundle").rename(target)
                shutil.rmtree(left)
            finally:
                os.close(lock)


def _rename(scratch: Path, target: Path, force: bool) -> None:
    """Gives the folder its final name."""
    check_target(target, force)
    if not target.exists():
        scratch.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
    lock = lock_folder(old)
    try:
        target.rename(old / "bundle")
        try:
            scratch.rename(target)
        except OSError:
            (old / "bundle").rename(target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
        if lock is not None:
            os.close(lock)
