"""The user's cache: small files that are made again when they are gone.

Nothing here may fail a run: a cache that cannot be written is not used, and a damaged file counts as absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from lineside.runtime.whole_file import write_whole

__all__ = ["ENGINES", "MAX_BYTES", "fetch", "folder", "keep", "scratch", "store"]

MAX_BYTES = 1 << 30
"""What the cache may hold; beyond it the files that were used longest ago go."""

ENGINES = "engines"
"""Folder of engines that cannot lie beside their bundle. Each took minutes to build, so no other file displaces one."""

_DIGEST = hashlib.sha256().digest_size


def folder() -> Path:
    """Where the cache lies: ``$LINESIDE_CACHE``, else ``$XDG_CACHE_HOME/lineside``, else ``~/.cache/lineside``."""
    chosen = os.environ.get("LINESIDE_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base if base else Path("~/.cache").expanduser()) / "lineside"


def store(name: str, data: bytes) -> Path | None:
    """Writes a file, atomically, and drops old ones beyond `MAX_BYTES`.

    Args:
        name: Relative name.
        data: Its content.

    Returns:
        Where it lies, or None if the cache cannot be written.
    """
    path = folder() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data, durable=False)  # what a power cut damages is made again
    except OSError:
        return None
    _prune(path)
    return path


def keep(name: str, data: bytes) -> None:
    """Stores data behind its own hash, so that `fetch` can tell a damaged file."""
    store(name, hashlib.sha256(data).digest() + data)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder inside the cache, removed at the end.

    Raises:
        OSError: The cache cannot be written.
    """
    import tempfile  # here, because a start that finds everything in the cache does without it

    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder(), prefix=".") as name:
        yield Path(name)


def fetch(name: str) -> bytes | None:
    """What `keep` stored under a name, or None if it is absent, damaged or unreadable."""
    path = folder() / name
    try:
        with path.open("rb") as file:
            digest, content = file.read(_DIGEST), file.read()
    except OSError:
        return None
    if hashlib.sha256(content).digest() != digest:
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used now: the last to be dropped
    return content


def _prune(newest: Path) -> None:
    """Drops the files that were used longest ago until the rest fits; never the newest, and no engine."""
    with contextlib.suppress(OSError):
        engines = folder() / ENGINES
        found = (path for path in folder().rglob("*") if not path.is_relative_to(engines))
        files = [(path.stat(), path) for path in found if path.is_file()]
        total = sum(status.st_size for status, _ in files)
        for status, path in sorted(files, key=lambda item: item[0].st_mtime_ns):
            if total <= MAX_BYTES:
                return
            if path != newest:
                path.unlink()
                total -= status.st_size
