"""What grows: files of whole records, and what sinks need of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lineside.pipelines.names import printable
from lineside.pipelines.sinks.naming import PART
from lineside.runtime.errors import SinkError

__all__ = ["Growing", "RecordFile", "named", "quiet", "refused"]


class RecordFile(Protocol):
    """What a sink needs of a file, be it one `PartFile` or many segments."""

    def write(self, data: bytes) -> None:
        """Adds one record, whole or not at all.

        Raises:
            SinkError: The disk says no, or is full.
        """
        ...

    def finish(self, missing: int = 0) -> None:
        """Ends it.

        Args:
            missing: Records that should be in it and are not.

        Raises:
            SinkError: The disk says no.
        """
        ...


@dataclass
class Growing:
    """A segment that is being written.

    Attributes:
        path: The name that it will have.
        handle: As the disk knows it.
        period: Number of the stretch of time that it belongs to.
        size: Bytes written so far, its header among them.
        records: Records written so far.
        settled: Whether its present name lies on the disk itself.
        part: The name that it has. Made once: a path made anew for every record is slow, and its strings, which Python
            shares and forgets again, make the table of shared strings grow and move from time to time.
    """

    path: Path
    handle: int
    period: int
    size: int
    records: int = 0
    settled: bool = False
    part: Path = field(init=False)

    def __post_init__(self) -> None:
        self.part = self.path.with_name(self.path.name + PART)


def quiet(level: str, kind: str, message: str) -> None:
    """Tells nobody."""


def named(path: Path) -> str:
    """A path as it stands in messages."""
    return printable(str(path))


def refused(path: Path, error: OSError) -> SinkError:
    """What is raised where a disk says no."""
    return SinkError(f"cannot write {named(path)}: {error.strerror or error}; free some space or name another place")
