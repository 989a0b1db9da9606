"""Files that grow for months: by whole records, in segments, each of which is whole however the process or power went.

A segment grows under ``….part`` and gets its name when it ends. What an earlier process left behind is cut to its whole
records and gets its name at the next start.
"""

from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lineside.pipelines.sinks.disk import make_folders
from lineside.pipelines.sinks.floor import Floor
from lineside.pipelines.sinks.growing import Growing, named, refused
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.mend import mend
from lineside.pipelines.sinks.naming import PART, Naming
from lineside.pipelines.sinks.retention import Retention
from lineside.pipelines.sinks.syncer import Syncer
from lineside.pipelines.sinks.world import World
from lineside.runtime.errors import SinkError

__all__ = ["Segments"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Segments:
    """One growing file, or a row of them.

    What `write` has returned from is in the file even when the process is killed; after a loss of power that holds for
    what had been written `Rules.sync_s` before, and of what came later some may be missing, never half a record.

    `write` and `finish` are called from one thread.

    Args:
        path: The name that the user gave. Without rotation the file has this name; with it each segment has the UTC
            time of its beginning in front of the ending.
        rules: When segments end, how long they stay, when they are synced, and how much room is left to others.
        whole: How many bytes from its beginning a file's whole records take.
        header: What each segment begins with.
        world: What it has around it.
        finished: Gets each finished segment, also those that were left behind by an earlier process; in the thread of
            the sink.
        taken: See `Naming`.
    """

    def __init__(
        self,
        path: Path,
        rules: Rules,
        *,
        whole: Callable[[Path], int],
        header: bytes = b"",
        world: World = World(),
        finished: Callable[[Path], None] = lambda path: None,
        taken: Callable[[Path], bool] = lambda path: False,
    ) -> None:
        self._naming = Naming(path, taken)
        self._path = path
        self._rules = rules
        self._whole = whole
        self._header = header
        self._disk, self._tell, self._now = world.disk, world.tell, world.now
        self._finished = finished
        self._floor = Floor(path.parent, rules.floor, world.disk, world.tell)
        self._syncer = Syncer(rules.sync_s, self.sync, path.name)
        self._hold = threading.Lock()  # Whoever has it may count on the handle of the growing segment.
        self._growing: Growing | None = None
        self._lost = False
        self._retention = Retention(self._naming.segments, rules, path, world)

    def open(self) -> Segments:
        """Puts in order what an earlier process left, and begins the first segment.

        A full disk is no reason to fail here: it is one for each record, until there is room.

        Raises:
            SinkError: The place cannot be written to, or another process is writing there.
        """
        self._prepare(self._begin)
        return self

    def prepare(self) -> None:
        """As `open`, for whom the first record is to begin the first segment: see `turn`."""
        self._prepare(lambda: None)

    def _prepare(self, begin: Callable[[], object]) -> None:
        try:
            make_folders(self._disk, self._path.parent)
            if not os.access(self._path.parent, os.W_OK | os.X_OK):
                raise OSError(errno.EROFS, "the folder is read-only")
            for part in self._naming.parts():
                self._mend(part)
            self._put_aside()
            self._retention.look()
            begin()
        except BlockingIOError as error:
            raise SinkError(
                f"another process is writing {self._path} at this moment: wait until it has ended, or name another path"
            ) from error
        except OSError as error:
            if error.errno not in _FULL:
                raise refused(self._path, error) from error
            self._tell("error", "disk full", str(refused(self._path, error)))

    def turn(self, header: bytes) -> None:
        """What comes next goes into a new segment with another header.

        Raises:
            SinkError: The disk says no.
        """
        self._end()
        self._header = header

    def write(self, data: bytes) -> None:
        """See `growing.RecordFile.write`. Begins a new segment where the present one has to end.

        Raises:
            SinkError: The disk says no, is full or at its floor. What was written of the record is taken back.
        """
        self._floor.check()
        if self._lost:
            self._leave()
        try:
            file = self._current(len(data))
        except OSError as error:
            raise refused(self._path, error) from error
        try:
            self._disk.write(file.handle, data)
        except OSError as error:
            self._take_back(file)
            raise refused(file.path, error) from error
        file.size += len(data)
        file.records += 1
        self._syncer.touch()
        if self._lost and self._rules.sync_s == 0:
            raise SinkError(f"the disk did not take a record of {file.path}; check the disk")

    def sync(self) -> None:
        """Forces what was written onto the disk. May be called from any thread; tells where the disk says no."""
        with self._hold:
            file = self._growing
            if file is None or self._lost:
                return
            try:
                self._disk.sync(file.handle)
                if not file.settled:
                    self._disk.sync_folder(file.part.parent)
                    file.settled = True
            except OSError as error:
                # A kernel gives up what it could not write: asking again would be answered with success.
                self._lost = True
                self._tell(
                    "error",
                    "sync failed",
                    f"the disk did not take what was written last to {file.part} ({error.strerror}): it may be lost; "
                    "check the disk",
                )

    def finish(self, missing: int = 0) -> None:
        """Ends the present segment. See `growing.RecordFile.finish`.

        Args:
            missing: Records that should be there and are not. A single file stays an unfinished one because of them;
                segments are whole by themselves.

        Raises:
            SinkError: The disk says no.
        """
        self._syncer.close()
        self._end(missing)

    def _end(self, missing: int = 0) -> None:
        file = self._growing
        if file is None:
            return
        try:
            if self._lost or (missing and not self._rules.rotates):
                self._leave()
            elif file.records or not self._rules.rotates:
                self._commit(file)
            else:
                self._drop(file)
        except OSError as error:
            raise refused(file.path, error) from error

    def _current(self, size: int) -> Growing:
        """The segment that the next record goes into."""
        file = self._growing
        if file is not None and not file.part.exists():
            self._leave()  # What is written to it would go nowhere.
            self._tell("error", "file gone", f"somebody has removed {named(file.part)}: a new file is begun")
            file = None
        if file is not None and self._due(file, size):
            try:
                self._commit(file)
            except OSError as error:
                self._leave()
                self._tell("error", "segment left", f"{refused(file.path, error)}; it stays {file.part.name}")
            file = None
        if file is None:
            file = self._begin()
        if self._retention.due:
            self._retention.look(file.size)
        return file

    def _due(self, file: Growing, size: int) -> bool:
        if not file.records:
            return False
        return file.period != self._period() or file.size + size > (self._rules.rotate_bytes or math.inf)

    def _period(self) -> int:
        """Number of the present stretch of time; whichever way a clock is set, a new number ends the segment."""
        return int(self._now() // self._rules.rotate_s) if self._rules.rotate_s else 0

    def _begin(self) -> Growing:
        path = self._naming.fresh(self._now()) if self._rules.rotates else self._naming.exact(self._now())
        part = path.with_name(path.name + PART)
        make_folders(self._disk, part.parent)
        handle = self._disk.create(part)
        try:
            self._disk.write(handle, self._header)
        except OSError:
            self._disk.close(handle)
            with suppress(OSError):
                self._disk.unlink(part)
            raise
        with self._hold:
            self._growing = Growing(path, handle, self._period(), len(self._header))
            self._lost = False
        return self._growing

    def _commit(self, file: Growing) -> None:
        """Gives a segment its name once its content lies on the disk."""
        with self._hold:
            self._disk.sync(file.handle)
            # The lock on the file goes last: until it has its name nobody else may take it for one that was left.
            self._disk.rename(file.part, file.path)
            self._disk.sync_folder(file.path.parent)
            self._growing = None
            self._disk.close(file.handle)
        self._finished(file.path)
        self._retention.look()

    def _leave(self) -> None:
        """Closes a segment that cannot be finished; the next start finds it."""
        with self._hold:
            file, self._growing, self._lost = self._growing, None, False
            if file is not None:
                with suppress(OSError):
                    self._disk.close(file.handle)

    def _drop(self, file: Growing) -> None:
        """Removes a segment without a record."""
        self._disk.unlink(file.part)
        self._leave()

    def _take_back(self, file: Growing) -> None:
        try:
            self._disk.truncate(file.handle, file.size)
        except OSError:
            self._leave()

    def _mend(self, part: Path) -> None:
        """Gives what an earlier process left behind a name."""
        mended = mend(self._disk, part, self._mended_name, self._whole, len(self._header))
        if mended is not None:
            path, cut = mended
            self._tell("warning", "mended", f"{named(path)} was left behind by a run that was cut off{cut}")
            self._finished(path)

    def _mended_name(self, part: Path) -> Path:
        path = part.with_name(part.name[: -len(PART)])
        return self._naming.fresh(part.stat().st_mtime) if path == self._path or path.exists() else path

    def _put_aside(self) -> None:
        """A file of an earlier run under the very name that this one will have keeps its content under another."""
        if self._rules.rotates or not self._path.exists():
            return
        path = self._naming.fresh(self._path.stat().st_mtime)
        self._disk.rename(self._path, path)
        self._tell("info", "put aside", f"{named(self._path)} of an earlier run is now {named(path)}")
