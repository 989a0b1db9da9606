"""``lineside station FILE`` as a process of its own: started, watched through its own database, ended, read back.

A station of these tests has the sources that a test names, one model, and the sinks ``base`` (SQLite), ``lines`` (JSONL),
``table`` (CSV) and ``shots`` (pictures). Its database is read while it runs: what a test waits for is what it says there.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from helpers.media import pictures
from lineside.pipelines.sinks.pictures import whole_picture
from lineside.pipelines.sinks.whole import read_lines, whole_rows

PATIENCE = 240.0
"""Seconds that anything may take on a machine with much else to do."""

KEEPING = {"floor": "0B", "sync": "200ms"}
SINKS: dict[str, dict[str, Any]] = {
    "base": {"sqlite": {"path": "base.sqlite", **KEEPING}},
    "lines": {"jsonl": {"path": "lines.jsonl", "events": "events.jsonl", **KEEPING}},
    "table": {"csv": {"path": "table.csv", **KEEPING}},
    "shots": {"images": {"path": "shots", "nth": 5, **KEEPING}},
}
ROOMY = "queue policy=drop-oldest:100000"
"""A queue that loses nothing in a test."""

_MOMENT = re.compile(r"-(\d{8}T\d{6}Z)(?:-(\d+))?\.")

MOVES = {
    "NOT_STARTED": {"CONNECTING", "ENDED"},
    "CONNECTING": {"RUNNING", "BACKOFF", "ENDED"},
    "RUNNING": {"STALLED", "BACKOFF", "ENDED"},
    "STALLED": {"BACKOFF", "ENDED"},
    "BACKOFF": {"CONNECTING", "ENDED"},
    "ENDED": set(),
}
"""What may follow each state of a source."""


def healthy(folder: Path, fps: int = 10, **more: object) -> dict[str, Any]:
    """A camera that works: pictures of bright discs, each of which the tiny model finds something on."""
    if not (folder / "parts").exists():
        pictures(folder / "parts", [(48, 64)] * 3)
    return {"synthetic": {"path": str(folder / "parts"), "fps": fps, **more}}


@dataclass(frozen=True)
class Event:
    """An event as the database has it."""

    number: int
    level: str
    element: str
    kind: str
    message: str


class Running:
    """A station at work.

    Args:
        folder: For its file and its results.
        bundle: Its model.
        sources: By name: the kind of source with what it is told.
        lossless: Sources of which every frame is to be inspected; of the others the newest.
        sinks: Sinks in place of the usual ones, by name.
        queues: What stands in front of a sink in place of a queue that loses nothing, by its name.
        more: What else the station file says.
        patient: Cameras get more time to connect than `lineside station` gives them: for those that need much for it.
        env: Added to its environment.
    """

    def __init__(
        self,
        folder: Path,
        bundle: Path,
        sources: Mapping[str, dict[str, Any]],
        *,
        lossless: Iterable[str] = ("side",),
        sinks: Mapping[str, dict[str, Any]] = SINKS,
        queues: Mapping[str, str] = {},
        more: Mapping[str, Any] = {},
        patient: bool = False,
        env: Mapping[str, str] = {},
    ) -> None:
        self.folder = folder
        policies = {name: "every:100000" if name in lossless else "latest" for name in sources}
        links = [f"{name} ! queue policy={policies[name]} ! model" for name in sources]
        links += [f"model ! {queues.get(name, ROOMY)} ! {name}" for name in sinks]
        model = {"segment": {"bundle": str(bundle), "masks": "proto"}}
        text = {"station": 1, "elements": {**sources, "model": model, **sinks}, "links": links, **more}
        self.file = folder / "station.yaml"
        self.file.write_text(json.dumps(text))
        self._out, self._errors = folder / "report.txt", folder / "errors.txt"
        program = [str(Path(__file__).with_name("patient_station.py"))] if patient else ["-m", "lineside", "station"]
        with self._out.open("wb") as out, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *program, str(self.file), *([] if patient else ["--json"])],
                stdout=out,
                stderr=errors,
                env={**os.environ, **env},
            )

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def errors(self) -> str:
        """What it has said to its user."""
        return self._errors.read_text(errors="backslashreplace")

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Waits until something holds; the station has to live as long."""
        end = time.monotonic() + PATIENCE
        while not holds():
            assert self.process.poll() is None, f"the station ended before {what}: {self.errors}"
            assert time.monotonic() < end, f"{what}: did not come true; {self.events()[-12:]}\n{self.errors}"
            time.sleep(0.05)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Asks the database while the station writes to it; nothing where there is none yet."""
        try:
            return asked(self.folder / "base.sqlite", query, *values)
        except sqlite3.Error:
            return []

    def count(self, source: str = "side") -> int:
        """Frames of a source that are in the database."""
        found = self.rows("SELECT count(*) FROM frames WHERE source = ? AND outcome = 'inspected'", source)
        return int(found[0][0]) if found else 0

    def more_from(self, source: str = "side", count: int = 10) -> None:
        """Waits until a source has given so many frames more."""
        before = self.count(source)
        self.until(lambda: self.count(source) >= before + count, f"{count} more frames of {source}")

    def events(self, after: int = 0) -> list[Event]:
        """What it told, from an event on."""
        query = "SELECT id, level, element, kind, message FROM events WHERE id > ? ORDER BY id"
        return [Event(*row) for row in self.rows(query, after)]

    def mark(self) -> int:
        """The number of the newest event."""
        return max((event.number for event in self.events()), default=0)

    def hear(self, element: str, kind: str, text: str = "", after: int = 0) -> Event:
        """Waits for an event."""

        def found() -> list[Event]:
            return [it for it in self.events(after) if (it.element, it.kind) == (element, kind) and text in it.message]

        self.until(found, f"{kind} of {element} {text!r}")
        return found()[0]

    def end(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        """Asks it to end once its files have what it has inspected so far, and reads what it reports."""
        known = len(self.rows("SELECT id FROM frames"))
        self.until(lambda: self._lines() >= known, "the lines have caught up")
        self.process.send_signal(number)
        return self.wait()

    def _lines(self) -> int:
        """Lines so far; none where a segment gets its name just now."""
        with suppress(FileNotFoundError):
            return len(lines_in(self.folder))
        return 0

    def wait(self) -> Ended:
        """Waits for its end."""
        code = self.process.wait(PATIENCE)
        assert "Traceback" not in self.errors and "Exception ignored" not in self.errors, self.errors
        out = self._out.read_text()
        return Ended(code, json.loads(out) if out else {}, self.errors, self.folder)

    def kill(self) -> None:
        """Kills it."""
        self.process.kill()
        assert self.process.wait(PATIENCE) == -signal.SIGKILL, self.errors


@dataclass(frozen=True)
class Ended:
    """A station that has ended: exit code, report (empty where it never began), what it said, where its results are."""

    code: int
    report: dict[str, Any]
    errors: str
    folder: Path

    def counts(self, source: str) -> dict[str, Any]:
        """The counts of a source."""
        (found,) = [it["counts"] for it in self.report["branches"] if it["source"] == source]
        return dict(found)

    def moves(self, source: str) -> list[str]:
        """The states that a source went through; each may follow the one before."""
        query = "SELECT kind FROM events WHERE element = ? AND kind LIKE 'source %' ORDER BY id"
        kinds = [kind for (kind,) in asked(self.folder / "base.sqlite", query, source)]
        states = [kind.removeprefix("source ").upper() for kind in kinds if kind != "source failed"]
        for before, after in zip(["NOT_STARTED", *states], states, strict=False):
            assert after in MOVES[before], states
        return states

    def lawful(self) -> None:
        """Every frame is accounted for, in the report and in the files: see `lineside.pipelines.counters`."""
        assert self.report, self.errors
        assert self.code == (0 if self.report["complete"] else 1)
        frames = asked(self.folder / "base.sqlite", "SELECT source, outcome FROM frames")
        lines = [(line["source"], line["outcome"]) for line in lines_in(self.folder)]
        for branch in self.report["branches"]:
            counts, name = branch["counts"], branch["source"]
            lost = sum(counts["dropped"].values()) + sum(
                counts[it] for it in ("incomplete", "never_inspected", "failed")
            )
            decided = counts["inspected"] + counts["late"]
            assert counts["entered"] == decided + lost and counts["in_flight"] == 0, (name, counts)
            for sink, it in counts["sinks"].items():
                assert it["given"] == it["written"] + it["dropped"] + it["failed"] and it["waiting"] == 0, (sink, it)
            for sink, found in (("base", frames), ("lines", lines)):
                mine = [outcome for source, outcome in found if source == name]
                assert len(mine) == counts["sinks"][sink]["written"], (name, sink)
                if not counts["sinks"][sink]["dropped"] + counts["sinks"][sink]["failed"]:
                    assert sum(it in ("inspected", "late") for it in mine) == decided, (name, sink)

        if list(self.folder.glob("events*.jsonl*")):
            self._same_events()

    def _same_events(self) -> None:
        """The events in the file of JSON lines are those in the database, which ends a little earlier."""
        columns = ("level", "element", "kind", "message")
        base = asked(self.folder / "base.sqlite", f"SELECT {', '.join(columns)} FROM events")
        written = Counter(tuple(it[name] for name in columns) for it in lines_in(self.folder, "events"))
        assert base and not Counter(base) - written, Counter(base) - written

    def all_of(self, source: str = "side") -> None:
        """A camera that lost nothing: every trigger, in order, in the database and in the lines."""
        counts = self.counts(source)
        decided = counts["inspected"] + counts["late"]
        assert decided == counts["entered"] > 0, counts
        query = "SELECT trigger_number FROM frames WHERE source = ? ORDER BY id"
        triggers = [number for (number,) in asked(self.folder / "base.sqlite", query, source)]
        assert runs(triggers) and len(triggers) == decided
        assert [line["trigger"] for line in lines_in(self.folder) if line["source"] == source] == triggers


def asked(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Asks a database that somebody else may be writing.

    Raises:
        sqlite3.Error: It is not there, or has no such tables yet.
    """
    base = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)
    try:
        return base.execute(query, values).fetchall()
    finally:
        base.close()


def runs(numbers: Sequence[int]) -> list[int]:
    """Lengths of the runs 0, 1, 2, … that numbers consist of; a gap, or one that comes twice, fails."""
    found: list[int] = []
    for number in numbers:
        if number == 0:
            found.append(0)
        assert found and number == found[-1], f"{number} comes after {found}"
        found[-1] += 1
    return found


def lines_in(folder: Path, name: str = "lines") -> list[dict[str, Any]]:
    """The lines of all segments in the order of writing, whole ones of the one that grows; in the others all are whole."""
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob(f"{name}*.jsonl*"), key=_grown):
        found += read_lines(path) if path.suffix == ".part" else map(json.loads, path.read_text().splitlines())
    return found


def rows_in(folder: Path, name: str = "table") -> list[dict[str, str]]:
    """The rows of all segments of a table, as `lines_in`."""
    found: list[dict[str, str]] = []
    for path in sorted(folder.glob(f"{name}*.csv*"), key=_grown):
        data, whole = path.read_bytes(), whole_rows(path)
        assert path.suffix == ".part" or whole == len(data), path
        found += csv.DictReader(data[:whole].decode().splitlines(), strict=True)
    return found


def shots_in(folder: Path, name: str = "shots") -> list[int]:
    """Numbers of the pictures that are there, in the order of time; each finished one can be decoded."""
    found: list[int] = []
    for path in sorted((folder / name).rglob("*.jpg*"), key=lambda it: it.name):
        data = path.read_bytes()
        if path.suffix == ".part" and not whole_picture(data):
            continue
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None, path
        found.append(int(path.name.split(".jpg")[0][-6:]))
    return found


def _grown(path: Path) -> tuple[int, str, int]:
    """Order of segments: by the time of their beginning and their number in its second; the one that grows comes last."""
    found = _MOMENT.search(path.name)
    return int(path.suffix == ".part"), found[1] if found else "", int(found[2] or 1) if found else 0
