"""The two forms in which a bundle lies on disk: a folder, or the same tree in a .zip file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Protocol

from lineside.runtime.errors import BundleDamaged, NotABundle

if TYPE_CHECKING:
    import zipfile  # costs 5 ms and most bundles are folders: imported when a zip is opened

__all__ = ["JUNK", "FolderTree", "Tree", "ZipTree", "is_plain_name"]

JUNK = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What file managers drop into folders: no part of a bundle, and harmless."""

MAX_FILE_BYTES = 2 << 30
MAX_FILES = 4096
"""Limits of a zip: an ONNX file ends at 2 GiB, and a bundle holds a few dozen files."""


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
            found.update(str(below / file) for file in files if file not in JUNK)
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
                entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        except (zipfile.BadZipFile, OSError) as error:
            raise NotABundle(
                f"{path} is not a readable zip file ({error}): copy it again from where it was made"
            ) from error
        self._check(entries)
        names = [entry.filename for entry in entries if not _is_junk(entry.filename)]
        prefix = _common_folder(names)
        self._entries = {name[len(prefix) :]: name for name in names}

    def _check(self, entries: list[zipfile.ZipInfo]) -> None:
        names = [entry.filename for entry in entries]
        wrong = next((name for name in names if not is_plain_name(name)), None)
        if wrong is None:
            wrong = next((entry.filename for entry in entries if stat.S_ISLNK(entry.external_attr >> 16)), None)
        if wrong is None:
            wrong = next((entry.filename for entry in entries if entry.file_size > MAX_FILE_BYTES), None)
        if wrong is not None or len(names) > MAX_FILES or len(set(names)) != len(names):
            which = f"{wrong!r}" if wrong is not None else f"{len(names)} files, some of them twice or too many"
            raise BundleDamaged(
                f"{self._path} holds {which}: a bundle has only plain relative names, each once, no links and no file "
                "above 2 GiB; this zip was not made from a bundle, do not use it"
            )

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


def _is_junk(name: str) -> bool:
    """Whether a file manager put it there; macOS keeps a tree of its own beside the files."""
    return PurePosixPath(name).name in JUNK or name.startswith("__MACOSX/")


def _common_folder(names: list[str]) -> str:
    """The one folder that holds everything, with its slash, or nothing where the manifest lies at the root."""
    tops = {name.partition("/")[0] for name in names}
    folders = {name.partition("/")[0] for name in names if "/" in name}
    return f"{tops.pop()}/" if len(tops) == 1 and tops == folders else ""
