"""The tables of the SQLite sink, and what makes, checks, fills and thins them out."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from lineside.pipelines.events import Event
from lineside.pipelines.frame import DECIDED, Frame
from lineside.pipelines.records import plain
from lineside.runtime.errors import SinkError

__all__ = ["add_event", "add_frame", "prepare", "thin_out"]

_APPLICATION = 0x4C494E45
"""Says in the file's header whose it is."""
_VERSION = 1
_CHUNK = 500
"""Frames removed at once: the sink's thread is not held up for long, and the rest goes with the next look."""

_TABLES = """
CREATE TABLE frames (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    model TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    wall REAL NOT NULL,
    pts REAL NOT NULL,
    file TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    outcome TEXT,
    trigger_number INTEGER,
    part TEXT,
    encoder INTEGER,
    age_ms REAL,
    error TEXT,
    note TEXT
);
CREATE INDEX frames_by_time ON frames (wall);
CREATE TABLE detections (
    frame INTEGER NOT NULL REFERENCES frames (id) ON DELETE CASCADE,
    class INTEGER NOT NULL,
    name TEXT NOT NULL,
    score REAL NOT NULL,
    x0 REAL NOT NULL,
    y0 REAL NOT NULL,
    x1 REAL NOT NULL,
    y1 REAL NOT NULL,
    mask_area INTEGER,
    mask TEXT,
    track INTEGER
);
CREATE INDEX detections_by_frame ON detections (frame);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    wall REAL NOT NULL,
    level TEXT NOT NULL,
    element TEXT NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX events_by_time ON events (wall);
"""
"""Times in seconds since 1970 (``wall``) or since the start of the source (``pts``), boxes in pixels, masks as COCO run
lengths in JSON."""


def prepare(base: sqlite3.Connection, path: str) -> None:
    """Sets a database up, and makes its tables where they are missing.

    Args:
        base: The database, in autocommit mode.
        path: Its name, for messages.

    Raises:
        SinkError: It belongs to somebody else, or to a newer Lineside.
        sqlite3.Error: It cannot be read or written.
    """
    base.execute("PRAGMA auto_vacuum = INCREMENTAL")  # Counts only before there is a table.
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("PRAGMA synchronous = NORMAL")
    base.execute("PRAGMA foreign_keys = ON")
    base.execute("PRAGMA journal_size_limit = 67108864")
    (application,) = base.execute("PRAGMA application_id").fetchone()
    (version,) = base.execute("PRAGMA user_version").fetchone()
    (count,) = base.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if count and application != _APPLICATION:
        raise SinkError(f"{path} is another program's database; name another path")
    if version > _VERSION:
        raise SinkError(f"{path} was made by a newer Lineside; update this one, or name another path")
    if not count:
        base.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION}; COMMIT;"
        )
    base.execute("SELECT max(id) FROM frames").fetchone()


def add_frame(base: sqlite3.Connection, frame: Frame, masks: bool) -> None:
    """Adds a frame and its detections.

    Args:
        base: The database, inside a transaction.
        frame: The frame, failed ones too.
        masks: Whether to write the masks' run lengths.

    Raises:
        sqlite3.Error: It cannot be written.
    """
    age = (frame.clock[DECIDED] - frame.begin) / 1e6 if DECIDED in frame.clock else None
    height, width = frame.size
    values = (
        *(
            frame.source,
            frame.model,
            frame.sequence,
            round(frame.wall, 6),
            round(frame.pts, 6),
            frame.name,
            width,
            height,
        ),
        *(frame.outcome, frame.trigger, frame.part, frame.encoder, age, frame.error, frame.note),
    )
    row = base.execute(f"INSERT INTO frames VALUES (NULL{', ?' * len(values)})", values).lastrowid
    found = frame.detections
    if found is None or frame.error is not None:
        return
    rows: list[tuple[Any, ...]] = []
    for i, (box, score, number) in enumerate(plain(found)):
        mask = found.masks[i] if found.masks is not None else None
        area = None if mask is None else int(mask.area)
        counts = json.dumps(mask.rle()) if masks and mask is not None else None
        track = None if found.tracks is None else int(found.tracks[i])
        rows.append((row, number, found.names[number], score, *box, area, counts, track))
    base.executemany("INSERT INTO detections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def add_event(base: sqlite3.Connection, event: Event) -> None:
    """Adds an event.

    Raises:
        sqlite3.Error: It cannot be written.
    """
    base.execute(
        "INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?)",
        (round(event.when, 6), event.level, event.element, event.kind, event.message),
    )


def thin_out(base: sqlite3.Connection, before: float | None, most: int | None) -> bool:
    """Removes the oldest frames and events, some at a time, and gives their room back to the disk.

    Args:
        base: The database, inside a transaction.
        before: What was captured before this moment goes, in seconds since 1970; None for nothing.
        most: Bytes in use above which the oldest goes; None for any number.

    Returns:
        Whether there may be more to remove.

    Raises:
        sqlite3.Error: It cannot be written.
    """
    gone = 0
    if before is not None:
        gone += base.execute(
            "DELETE FROM frames WHERE id IN (SELECT id FROM frames WHERE wall < ? ORDER BY wall LIMIT ?)",
            (before, _CHUNK),
        ).rowcount
        gone += base.execute(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE wall < ? ORDER BY wall LIMIT ?)",
            (before, _CHUNK),
        ).rowcount
    if most is not None and _in_use(base) > most:
        gone += base.execute(
            "DELETE FROM frames WHERE id IN (SELECT id FROM frames ORDER BY id LIMIT ?)", (_CHUNK,)
        ).rowcount
        if not gone:
            gone += base.execute(
                "DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY id LIMIT ?)", (_CHUNK,)
            ).rowcount
    return gone > 0


def _in_use(base: sqlite3.Connection) -> int:
    """Bytes of the pages that hold something."""
    pages, free, size = (
        base.execute(f"PRAGMA {it}").fetchone()[0] for it in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
