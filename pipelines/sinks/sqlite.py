"""A SQLite database of frames, detections and events, which others may read meanwhile."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.names import printable
from lineside.pipelines.sinks.ages import Ages
from lineside.pipelines.sinks.disk import make_folders
from lineside.pipelines.sinks.floor import Floor
from lineside.pipelines.sinks.lasting import Keeping, Rules
from lineside.pipelines.sinks.naming import stamp
from lineside.pipelines.sinks.syncer import Syncer
from lineside.pipelines.sinks.tables import add_event, add_frame, prepare, thin_out
from lineside.pipelines.sinks.world import World, world_of
from lineside.runtime.errors import SinkError

__all__ = ["Database", "Sqlite", "make"]

_EVENTS = 1000
"""Events that may wait to be written; of more, the oldest go and are counted."""
_LOOK_EVERY = 60.0
"""Seconds between two looks at what has to go."""
_DAMAGED = ("malformed", "not a database")


class Database(Keeping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A database with the tables ``frames``, ``detections`` and ``events``.

    Attributes:
        path: Name of the file.
        masks: Whether the masks are written too, as COCO run lengths; their areas always are.
    """

    path: str = "results.sqlite"
    masks: bool = False


def make(options: Database, place: Place) -> Sqlite:
    """Makes the sink of a station."""
    path = place.path(options.path)
    return Sqlite(path, options.rules(), masks=options.masks, world=world_of(place), name=place.name)


class Sqlite:
    """Writes each frame and what was found on it in one transaction, and what happens in the graph beside it.

    Write-ahead log: readers see whole frames and never wait. A committed frame outlives a kill; after a loss of power
    the frames are there up to some moment, no earlier than the last sync, and none is there in part. A database that is
    found damaged is put aside and a new one begun.

    `hear` may be called from any thread, the rest as in `Sink`.

    Args:
        path: Name of the file.
        rules: Retention, syncs, floor.
        masks: Whether the masks' run lengths are written.
        world: What it has around it; its disk is for syncs and room, SQLite writes by itself.
        name: Name of the sink.
    """

    takes_failed = True

    def __init__(
        self,
        path: Path,
        rules: Rules,
        *,
        masks: bool = False,
        world: World = World(),
        name: str = "",
    ) -> None:
        self.name = name or "sqlite"
        self._path = path
        self._rules = rules
        self._masks = masks
        self._disk, self._tell, self._now = world.disk, world.tell, world.now
        self._ages = Ages(world.now, world.steady)
        self._floor = Floor(path.parent, rules.floor, world.disk, world.tell)
        self._lock = threading.Lock()  # Of the connection: the sink's thread and that of the syncs use it.
        self._base: sqlite3.Connection | None = None
        self._syncer = Syncer(rules.sync_s or 1.0, self._tick, self.name)
        self._events: deque[Event] = deque()
        self._lost = 0
        self._hearing = threading.Lock()  # Of the two above.
        self._looked = 0.0
        self._closed = False

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        try:
            make_folders(self._disk, self._path.parent)
            self._base = self._connected()
        except (OSError, sqlite3.Error) as error:
            raise self._refused(error) from error

    def _connected(self) -> sqlite3.Connection:
        """The database; one that is damaged is put aside first."""
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if not _damaged(error):
                raise
            self._put_aside(error)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            prepare(base, printable(str(self._path)))
        except BaseException:
            base.close()
            raise
        return base

    def _put_aside(self, error: sqlite3.Error) -> None:
        aside = self._path.with_name(f"{self._path.stem}-{stamp(self._now())}-damaged{self._path.suffix}")
        for ending in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                self._disk.rename(self._path.with_name(self._path.name + ending), aside.with_name(aside.name + ending))
        self._tell("error", "damaged", f"{self._path} is damaged ({error}): it is now {aside}, and a new one is begun")

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        self._floor.check()
        with self._lock:
            self._transact(lambda base: add_frame(base, frame, self._masks))
        if self._rules.sync_s == 0:
            self.sync()
        self._syncer.touch()

    def hear(self, event: Event) -> None:
        """Takes an event over; it is written soon, in another thread, also where no frames come."""
        if self._closed:
            return
        with self._hearing:
            self._events.append(event)
            if len(self._events) > _EVENTS:
                self._events.popleft()
                self._lost += 1
        self._syncer.touch()

    def sync(self) -> None:
        """Forces what was committed onto the disk; tells where the disk says no."""
        log = self._path.with_name(f"{self._path.name}-wal")
        try:
            # SQLite itself takes care of what it has moved from its log into the database.
            handle = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._disk.sync(handle)
            finally:
                os.close(handle)
            self._disk.sync_folder(log.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            message = f"the disk did not take what was written last to {self._path} ({error.strerror}): it may be lost"
            self._tell("error", "sync failed", message)

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`."""
        self._syncer.close()
        self._closed = True
        if self._base is None:
            return
        try:
            with self._lock:
                self._transact(lambda base: None)
        finally:
            base, self._base = self._base, None
            if base is not None:
                base.close()  # The last one to close moves the log into the database and syncs that.

    def _tick(self) -> None:
        """What the thread of the syncs does: events, old rows, sync."""
        try:
            self._floor.check()
            with self._lock:
                self._transact(lambda base: None)
                self._expire()
        except SinkError as error:
            if self._events:  # Telling would only add to what waits; another attempt is due.
                self._syncer.touch()
            else:
                self._tell("error", "sink failed", str(error))
        if self._rules.sync_s is not None:
            self.sync()

    def _transact(self, add: Callable[[sqlite3.Connection], None]) -> None:
        """Writes the events that wait and something else, all or nothing. The lock is the caller's.

        Raises:
            SinkError: It cannot be written.
        """
        with self._hearing:
            events, lost = list(self._events), self._lost
        if lost:
            events.append(
                Event("warning", self.name, "events lost", f"{lost} older events could not be written in time")
            )
        try:
            if self._base is not None and not self._path.exists():
                self._base.close()  # What is written to it would go nowhere.
                self._base = None
                self._tell(
                    "error", "file gone", f"somebody has removed {printable(str(self._path))}: a new one is begun"
                )
            if self._base is None:
                make_folders(self._disk, self._path.parent)
                self._base = self._connected()
            base = self._base
            base.execute("BEGIN IMMEDIATE")
            try:
                for event in events:
                    add_event(base, event)
                add(base)
                base.execute("COMMIT")
            except BaseException:
                if base.in_transaction:
                    base.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            if _damaged(error) and self._base is not None:
                self._base.close()
                self._base = None  # The next one finds it damaged, puts it aside and begins anew.
            raise self._refused(error) from error
        except OSError as error:
            raise self._refused(error) from error
        if events:
            written = {id(event) for event in events}
            with self._hearing:
                self._events = deque(it for it in self._events if id(it) not in written)
                self._lost -= lost

    def _expire(self) -> None:
        """Removes some of what is too old or too much; the lock is the caller's."""
        now, rules = self._now(), self._rules
        if (rules.keep_s is None and rules.keep_bytes is None) or abs(now - self._looked) < _LOOK_EVERY:
            return
        before = None if rules.keep_s is None else self._ages() - rules.keep_s
        more = False

        def thin(base: sqlite3.Connection) -> None:
            nonlocal more
            more = thin_out(base, before, rules.keep_bytes)

        self._transact(thin)
        if more and self._base is not None:
            self._base.execute("PRAGMA incremental_vacuum(1000)").fetchall()
        if not more:
            self._looked = now

    def _refused(self, error: Exception) -> SinkError:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        path = printable(str(self._path))
        return SinkError(f"cannot write {path}: {reason}; free some space, or name another path")


def _damaged(error: sqlite3.Error) -> bool:
    return any(word in str(error) for word in _DAMAGED)
