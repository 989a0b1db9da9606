"""Files that are either whole or clearly unfinished: written under another name, renamed when complete."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from lineside.runtime.errors import SinkError

__all__ = ["PartFile", "part_name", "put_in_place", "replace_bytes"]


def part_name(path: Path) -> Path:
    """The name of a file that is not finished yet: ``results.jsonl.part`` beside ``results.jsonl``."""
    return path.with_name(f"{path.name}.part")


def put_in_place(part: Path, path: Path) -> None:
    """Gives a finished file its name, once its content is on the disk.

    Raises:
        SinkError: The disk says no.
    """
    try:
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise _sink_error(path, error) from error


def replace_bytes(path: Path, data: bytes) -> None:
    """Writes a small file as a whole or not at all.

    Raises:
        SinkError: The disk says no.
    """
    part = part_name(path)
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise _sink_error(path, error) from error


class PartFile:
    """A file that grows by whole records and gets its name when it is complete.

    Nothing is kept back in the process: what `write` has returned from is readable in the ``.part`` file even when
    the process is killed.

    Args:
        path: Final name; its folder is made.

    Raises:
        SinkError: The file cannot be made, or somebody else is writing it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = part_name(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] | None = self.part.open("xb", buffering=0)
        except OSError as error:
            raise _sink_error(path, error) from error

    def write(self, data: bytes) -> None:
        """Adds one record.

        Raises:
            SinkError: The disk says no, or is full. What was written of the record is taken back.
        """
        assert self._file is not None, "the file is closed"
        start = self._file.tell()
        try:
            written = self._file.write(data)
            while written < len(data):
                written += self._file.write(data[written:])
        except OSError as error:
            self.take_back(start)
            raise _sink_error(self.path, error) from error

    @property
    def size(self) -> int:
        """Bytes written so far."""
        assert self._file is not None, "the file is closed"
        return self._file.tell()

    def take_back(self, size: int) -> None:
        """Cuts off what was written after a moment, such as half a record: the next one begins where that began.

        Args:
            size: `size` of that moment.
        """
        assert self._file is not None, "the file is closed"
        with suppress(OSError):
            self._file.truncate(size)
            self._file.seek(size)

    def finish(self, missing: int = 0) -> None:
        """Closes the file: under its final name if everything is in it, else it stays what it is, unfinished.

        Args:
            missing: Frames that should be in it and are not.

        Raises:
            SinkError: The disk says no.
        """
        if missing:
            self.leave()
        else:
            self.commit()

    def leave(self) -> None:
        """Closes the file and leaves it under the name of an unfinished one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def commit(self) -> None:
        """Gives the file its name.

        Raises:
            SinkError: The disk says no.
        """
        if self._file is None:
            return
        self.leave()
        put_in_place(self.part, self.path)

    def __enter__(self) -> PartFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.commit()


def _sink_error(path: Path, error: OSError) -> SinkError:
    return SinkError(
        f"cannot write {path}: {error.strerror or error}; free some space or name another place with --out"
    )
