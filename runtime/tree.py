"""The two forms in which a bundle lies on disk: a folder, or the same tree in a .zip file."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Protocol

from lineside.runtime.errors import BundleDamaged, NotABundle

if TYPE_CHECKING:
    import zipfile  # costs 5 ms and most bundles are folders: imported when a zip is opened

__all__ = ["JUNK", "FolderTree", "Tree", "ZipTree", "is_plain_name"]

JUNK = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What file managers drop into folders: no part of a bundle, and harmless. So is what begins with ``._``: macOS keeps the
attributes of a file so on foreign disks."""

MAX_FILE_BYTES = 2 << 30
MAX_BYTES = 8 << 30
MAX_FILES = 4096
"""Limits of a zip: an ONNX file ends at 2 GiB, and a bundle holds a few precisions of it and a few dozen small files."""

MAX_RATIO = 200
SMALL_BYTES = 64 << 20
"""Weights hardly shrink: what unpacks to more than so many times its size is a bomb, unless it is small anyway."""

METHODS = (0, 8)
"""Stored and deflated. The readers of the other methods unpack a piece of any size at once, whatever it promised."""

ENCRYPTED = 0x1


class Tree(Protocol):
    """Files by name; names are relative and have forward slashes."""

    def names(self) -> set[str]:
        """Names of all files."""

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Opens one file for reading.

        Raises:
            KeyError: There is no such file.
        """


def is_plain_name(name: str) -> bool:
    """Whether a name stays inside its tree: relative, forward slashes, no ``..``."""
    parts = name.split("/")
    return "\\" not in name and "\0" not in name and not any(part in {"", ".", ".."} for part in parts)


class FolderTree:
    """A folder on disk.

    Args:
        folder: Its path.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> set[str]:
        """Names of all files below the folder."""
        found: set[str] = set()
        for parent, _, files in os.walk(self._folder):
            below = PurePosixPath(Path(parent).relative_to(self._folder).as_posix())
            found.update(str(below / file) for file in files if not _is_junk(file))
        return found

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Opens one file for reading.

        Raises:
            KeyError: There is no such file.
            BundleDamaged: It cannot be read.
        """
        path = self._folder / name
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device could be read for ever
                raise BundleDamaged(f"{path} is no regular file: copy the bundle again from where it was made")
            file = path.open("rb")
        except FileNotFoundError:
            raise KeyError(name) from None
        except OSError as error:
            raise BundleDamaged(f"{path} cannot be read ({error.strerror}): check its permissions") from error
        with file:
            yield file


class ZipTree:
    """A .zip file that holds the tree, at its root or inside one folder.

    Args:
        path: The .zip file.

    Raises:
        NotABundle: Not a zip file.
        BundleDamaged: It holds names or sizes that no bundle has.
    """

    def __init__(self, path: Path) -> None:
        import zipfile

        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                entries = [entry for entry in archive.infolist() if not _plainly(entry.filename).endswith("/")]
        except (zipfile.BadZipFile, OSError, RuntimeError, ValueError, struct.error) as error:
            raise NotABundle(
                f"{path} is not a readable zip file ({error}): copy it again from where it was made"
            ) from error
        wrong = _wrong(entries, path.stat().st_size)
        if wrong:
            raise BundleDamaged(f"{path} holds {wrong}; this zip was not made from a bundle, do not use it")
        names = {_plainly(entry.filename): entry.filename for entry in entries}
        kept = [name for name in names if not _is_junk(name)]
        prefix = _common_folder(kept)
        self._entries = {name[len(prefix) :]: names[name] for name in kept}

    def names(self) -> set[str]:
        """Names of all files in the zip."""
        return set(self._entries)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Opens one file for reading.

        Raises:
            KeyError: There is no such file.
            BundleDamaged: It cannot be unpacked.
        """
        import zipfile
        import zlib

        entry = self._entries[name]
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(entry) as file:
                yield file
        except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError) as error:
            raise BundleDamaged(
                f"{name} in {self._path} cannot be unpacked ({error}): copy the zip again from where it was made"
            ) from error


def _wrong(entries: list[zipfile.ZipInfo], packed: int) -> str:
    """What no bundle has, in words; empty where all is well. Judged by the directory of the zip, before any unpacking."""
    names = [_plainly(entry.filename) for entry in entries]
    for entry in entries:
        written = _plainly(entry.orig_filename)  # the other one ends at the first NUL
        if not is_plain_name(written):
            return f"{written!r}: a bundle has only plain relative names"
        if stat.S_ISLNK(entry.external_attr >> 16):
            return f"{written!r}, a link: a bundle in a zip has no links"
        if entry.flag_bits & ENCRYPTED:
            return f"{written!r} behind a password: a bundle has no encrypted files"
        if entry.compress_type not in METHODS:
            return f"{written!r} packed with method {entry.compress_type}: zip a bundle with the usual one (deflate)"
        if entry.file_size > MAX_FILE_BYTES:
            return f"{written!r} of {entry.file_size} bytes: no file of a bundle is above 2 GiB"
    if len(names) > MAX_FILES or len(set(names)) != len(names):
        return f"{len(names)} files, some of them twice or too many: a bundle has each name once"
    if sum(entry.compress_size for entry in entries) > packed:
        return "files that overlap each other: each file of a bundle has a place of its own"
    total = sum(entry.file_size for entry in entries)
    if total > MAX_BYTES or (total > SMALL_BYTES and total > MAX_RATIO * packed):
        return f"{total} bytes in a file of {packed}: no bundle shrinks like that"
    return ""


def _plainly(name: str) -> str:
    """A name as most tools write it: ``tar -a -cf x.zip .`` begins each with ``./``, old PowerShells write backslashes."""
    name = name.replace("\\", "/")
    return name.removeprefix("./") or name


def _is_junk(name: str) -> bool:
    """Whether a file manager put it there; macOS keeps a tree of its own beside the files."""
    last = PurePosixPath(name).name
    return last in JUNK or last.startswith("._") or name.startswith("__MACOSX/")


def _common_folder(names: list[str]) -> str:
    """The one folder that holds everything, with its slash, or nothing where the manifest lies at the root."""
    tops = {name.partition("/")[0] for name in names}
    folders = {name.partition("/")[0] for name in names if "/" in name}
    return f"{tops.pop()}/" if len(tops) == 1 and tops == folders else ""
