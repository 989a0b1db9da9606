"""Files that can only be written as a whole, for months: a journal grows, and at its end the file is made of it.

Nothing opens half a workbook or half a COCO file. So the records go into a journal of JSON lines, which is whole at any
moment, and each time a segment of it ends a thread makes the file of it and then removes it. A journal that was left
behind becomes a file at the next start.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.records import STATION_COLUMNS, station_rows
from lineside.pipelines.sinks.coco import Coco, picture_of
from lineside.pipelines.sinks.disk import remove_tree
from lineside.pipelines.sinks.growing import named
from lineside.pipelines.sinks.lasting import Lasting, Rules
from lineside.pipelines.sinks.naming import PART, Naming
from lineside.pipelines.sinks.retention import Retention
from lineside.pipelines.sinks.segments import Segments
from lineside.pipelines.sinks.whole import read_lines, whole_lines
from lineside.pipelines.sinks.world import World, world_of
from lineside.pipelines.sinks.xlsx import Xlsx
from lineside.runtime.errors import SinkError

__all__ = ["CocoFiles", "Journaled", "Workbooks", "coco", "xlsx"]

ENDING = ".journal"

Entry = Callable[[Frame, int], dict[str, Any]]
"""What a journal says of a frame, given its number in the journal."""
Build = Callable[[Path, Path, str], None]
"""Makes a file (second) of a journal (first); the third is the name of the stream."""


class Workbooks(Lasting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Excel workbooks for people: a summary and a row per detection; one for each segment.

    Attributes:
        path: Name of the file.
        bundle: Name of the bundle, for the summary.
    """

    path: str = "results.xlsx"
    bundle: str = ""
    rotate: str = "1d"


class CocoFiles(Lasting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files in the COCO layout: pictures, classes and results; one for each segment.

    Attributes:
        path: Name of the file.
    """

    path: str = "coco.json"
    rotate: str = "1d"


def xlsx(options: Workbooks, place: Place) -> Journaled:
    """Makes the sink of a station that writes workbooks."""

    def build(journal: Path, path: Path, stream: str) -> None:
        book = Xlsx(path, options.bundle, STATION_COLUMNS)
        book.open(StreamInfo(stream, "camera"))
        try:
            for it in read_lines(journal):
                book.add(it["rows"], failed=it["failed"], wall=it["wall"])
        finally:
            book.close()

    name = place.name or "xlsx"
    return Journaled(
        place.path(options.path), options.rules(), _rows, build, takes_failed=True, world=world_of(place), name=name
    )


def coco(options: CocoFiles, place: Place) -> Journaled:
    """Makes the sink of a station that writes COCO files."""

    def build(journal: Path, path: Path, stream: str) -> None:
        file = Coco(path)
        file.open(StreamInfo(stream, "camera"))
        missing = 1
        try:
            for it in read_lines(journal):
                file.add(it["picture"], it["found"], dict(enumerate(it["names"])))
            missing = 0
        finally:
            file.close(missing)

    name = place.name or "coco"
    return Journaled(place.path(options.path), options.rules(), _annotations, build, world=world_of(place), name=name)


def _rows(frame: Frame, number: int) -> dict[str, Any]:
    failed = frame.error is not None
    return {"rows": [] if failed else list(station_rows(frame)), "failed": failed, "wall": round(frame.wall, 3)}


def _annotations(frame: Frame, number: int) -> dict[str, Any]:
    assert frame.detections is not None
    found = frame.detections
    return {"picture": picture_of(frame, number), "found": found.to_coco(number), "names": found.names}


class Journaled:
    """Writes a journal, and makes a file of each segment of it.

    Args:
        path: Name of the file; the journal has the same name with ``.journal`` behind it.
        rules: Segments, retention, syncs, floor.
        entry: What a journal says of a frame.
        build: Makes a file of a journal, whole or not at all.
        takes_failed: See `Sink`.
        world: What it has around it.
        name: Name of the sink.
    """

    def __init__(
        self,
        path: Path,
        rules: Rules,
        entry: Entry,
        build: Build,
        *,
        takes_failed: bool = False,
        world: World = World(),
        name: str = "",
    ) -> None:
        self.name = name
        self.takes_failed = takes_failed
        self._path = path
        self._entry = entry
        self._build = build
        self._disk, self._tell = world.disk, world.tell
        self._files = Naming(path)
        self._retention = Retention(self._files.segments, rules, path, world)
        self._journals = Naming(path.with_name(path.name + ENDING))
        # Retention is about the files: a journal goes when its file is there.
        journal = Rules(rules.rotate_s, rules.rotate_bytes, None, None, rules.sync_s, rules.floor)
        self._journal = Segments(
            self._journals.path,
            journal,
            whole=whole_lines,
            world=world,
            finished=lambda path: self._ended.put(path),
            # A file is made of the journal of its name and of no other.
            taken=lambda path: self._target(path).exists(),
        )
        self._encoder = msgspec.json.Encoder()
        self._ended: queue.Queue[Path | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._stream = ""
        self._count = 0

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        self._stream = stream.name
        if self._journals.path.exists():  # All that was missing was the file, or the end of the journal.
            self._make_one(self._journals.path)
        self._put_aside()
        self._journal.prepare()
        for path in self._journals.segments():  # Left behind by a process that could not make files of them.
            self._ended.put(path)
        self._thread = threading.Thread(target=self._make, name=f"files of {self.name}", daemon=True)
        self._thread.start()

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        self._count += 1
        self._journal.write(self._encoder.encode(self._entry(frame, self._count)) + b"\n")

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`. Waits until the last file is made."""
        try:
            self._journal.finish()
        finally:
            self._ended.put(None)
            if self._thread is not None:
                self._thread.join()

    def _make(self) -> None:
        """Thread that makes the files."""
        while (journal := self._ended.get()) is not None:
            if journal.exists():  # One that was left behind may be named twice.
                self._make_one(journal)

    def _make_one(self, journal: Path) -> None:
        path = self._target(journal)
        try:
            self._clear(path)
            self._files.note(path)
            self._build(journal, path, self._stream)
            self._disk.sync_folder(path.parent)  # Before the journal goes, or else both might be gone.
            self._disk.unlink(journal)
            self._retention.look()
        except Exception as error:  # Whatever is in one journal, the thread lives for the next.
            reason = error.strerror if isinstance(error, OSError) else error
            message = f"{named(path)} cannot be made of {named(journal)}, which stays: {reason}"
            self._tell("error", "not made", message)

    def _target(self, journal: Path) -> Path:
        """The name of the file that a journal becomes."""
        if journal == self._journals.path:
            return self._path
        moment = journal.name[len(self._path.name) : -len(ENDING)]
        return self._path.with_name(f"{self._path.stem}{moment}{self._path.suffix}")

    def _put_aside(self) -> None:
        """From now on a file under the very name that was asked for is made of this run's journal."""
        try:
            if self._path.exists():
                self._disk.rename(self._path, self._files.fresh(self._path.stat().st_mtime))
        except OSError as error:
            raise SinkError(f"cannot write {named(self._path)}: {error.strerror}; name another path") from error

    def _clear(self, path: Path) -> None:
        """Removes what an attempt that was cut off has left."""
        for scrap in path.parent.iterdir():
            ours = scrap.name.startswith(f"{path.name}.") and scrap.name.endswith(PART)
            if ours and not scrap.name.startswith(self._journals.path.name):
                remove_tree(self._disk, scrap)
