"""The sinks of a station, killed in the middle of writing, several times in the same place."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest

from helpers.inspected import inspected
from helpers.running import frames_of
from lineside.pipelines.records import STATION_COLUMNS
from lineside.pipelines.sinks.ffmpeg import find_ffmpeg
from lineside.pipelines.sinks.pictures import whole_picture
from lineside.pipelines.sinks.whole import read_lines, whole_rows
from lineside.pipelines.sources.replay import Replay

STATION = """
import sys
from pathlib import Path
from helpers.inspected import inspected
from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.facts import Facts
from lineside.pipelines.sinks import csv, film, gallery, journal, jsonl, record, sqlite

folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
place = Place(folder)
place.bus.listen(lambda event: print(event.level, event.kind, event.message, file=sys.stderr))
lasting = {"floor": "0B", "sync": "200ms"}
sinks = [
    jsonl.make(jsonl.JsonLinesFile(path="r.jsonl", events="e.jsonl", rotate_size="20kB", **lasting), place),
    csv.make(csv.CsvFile(path="r.csv", rotate_size="5kB", **lasting), place),
    sqlite.make(sqlite.Database(path="r.sqlite", **lasting), place),
    gallery.make(gallery.GalleryFolder(path="images", **lasting), place),
    record.make(record.Session(path="session", **lasting), place),
    journal.xlsx(journal.Workbooks(path="r.xlsx", rotate="", rotate_size="10kB", **lasting), place),
    journal.coco(journal.CocoFiles(path="coco.json", rotate="", rotate_size="10kB", **lasting), place),
    film.make(film.FilmFile(path="f.mp4", rotate_size="100kB", fps=10, **lasting), place),
]
left = sinks[0].attend(Facts("line", place.bus, print, [], {}, dict, dict))
place.bus.listen(sinks[0].hear)
print(first - 1, flush=True)
for sink in sinks:
    sink.open(StreamInfo("top", "video", fps=10))
for number in range(first, last):
    for sink in sinks:
        sink.write(inspected(number))
    place.bus.emit("info", "top", "written", f"frame {number}")
    print(number, flush=True)
for sink in sinks:
    sink.close()
left()
"""
NEVER = 10**6
NAMES = ("jsonl", "csv", "sqlite", "images", "record")
BEHIND = 40
"""Frames that may be on their way through the encoder of the video."""
KILLS = 12


def station(folder: Path, first: int, last: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", STATION, str(folder), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def killed(folder: Path, first: int, after: int, delay: float = 0.0) -> int:
    """Lets a station write so many frames (none: it begins to open its sinks) and kills it some seconds later.

    Gives the number of the last frame that all sinks have.
    """
    with station(folder, first, NEVER) as process:
        assert process.stdout is not None and process.stderr is not None
        timer, last = threading.Timer(delay, process.kill), first - 1
        for text in process.stdout:
            last = int(text)
            if last == first + after - 1:
                timer.start()
        timer.cancel()
        process.wait()
        assert process.returncode == -signal.SIGKILL, process.stderr.read()
    return last


def numbers(folder: Path) -> dict[str, list[int]]:
    """The frames that each sink's readers find, finished or not."""
    found: dict[str, list[int]] = {"jsonl": [], "csv": [], "images": []}
    for path in folder.glob("r*.jsonl*"):
        lines = read_lines(path) if path.suffix == ".part" else map(json.loads, path.read_text().splitlines())
        found["jsonl"] += [it["frame"] for it in lines]
    for path in folder.glob("r*.csv*"):
        data = path.read_bytes()
        rows = list(csv.DictReader(data[: whole_rows(path)].decode().splitlines(), strict=True))
        assert path.suffix == ".part" or whole_rows(path) == len(data)
        assert all(len(row) == len(STATION_COLUMNS) and None not in row.values() for row in rows)
        found["csv"] += [int(row["frame"]) for row in rows[::2]]
    with sqlite3.connect(f"file:{folder / 'r.sqlite'}?mode=ro", uri=True) as base:
        assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        query = "SELECT sequence FROM frames WHERE (SELECT count(*) FROM detections WHERE frame = frames.id) = 2"
        found["sqlite"] = [it for (it,) in base.execute(query)]
        assert len(found["sqlite"]) == base.execute("SELECT count(*) FROM frames").fetchone()[0]
    base.close()
    for path in (folder / "images").rglob("*.jpg*"):
        data = path.read_bytes()
        if path.suffix == ".part" and not whole_picture(data):
            continue
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
        found["images"].append(int(path.name.split(".jpg")[0][-6:]))
    frames = list(Replay(folder / "session").frames())
    found["record"] = [round(it.pts) for it in frames]
    for frame in frames[::10]:
        np.testing.assert_array_equal(frame.pixels, inspected(round(frame.pts)).pixels)
    return {name: sorted(them) for name, them in found.items()}


def told(folder: Path) -> list[int]:
    """The frames of which the file of events says that they were written, finished or not."""
    found: list[int] = []
    for path in folder.glob("e*.jsonl*"):
        lines = read_lines(path) if path.suffix == ".part" else map(json.loads, path.read_text().splitlines())
        found += [int(it["message"].split()[1]) for it in lines if it["kind"] == "written"]
    return sorted(found)


def shown(folder: Path) -> int:
    """Frames that the videos show together."""
    return sum(frames_of(path) for path in folder.glob("f-*.mp4*"))


@pytest.mark.slow
@pytest.mark.skipif(find_ffmpeg() is None, reason="needs the program ffmpeg with an H.264 encoder")
def test_what_was_written_is_there_after_each_kill_and_the_next_start_goes_on(tmp_path: Path) -> None:
    events: list[int] = []
    rng, before, films = random.Random(5), dict.fromkeys(NAMES, [0][:0]), 0
    safe: set[int] = set()
    for first in (0, 1000, 2000):
        last = killed(tmp_path, first, rng.randint(25, 90) + 1)
        before = check(tmp_path, before, first, last)
        # Events are written by a thread of their own: those of the last moment may be missing, none in between.
        events, heard = told(tmp_path), events
        assert events == [*heard, *range(first, first + len(events) - len(heard))] and last - events[-1] < 20
        safe |= set(range(first, last + 1))
        # A fragment lasts a second, ten frames; some more are on their way through the encoder.
        films += max(0, last + 1 - first - BEHIND)
        assert shown(tmp_path) >= films > 0
    goes_on(tmp_path, before, events, safe)


@pytest.mark.slow
@pytest.mark.skipif(find_ffmpeg() is None, reason="needs the program ffmpeg with an H.264 encoder")
def test_a_kill_at_any_moment_takes_nothing(tmp_path: Path) -> None:
    """Kills at random moments, also in the midst of opening, mending, and making workbooks of what the run before left."""
    rng, before, events, films = random.Random(7), dict.fromkeys(NAMES, [0][:0]), [0][:0], 0
    safe: set[int] = set()
    for number in range(KILLS):
        first = 1000 * number
        # The first one has written a frame, so that there is something to be read.
        last = killed(tmp_path, first, rng.choice([0, 1]) if number else 1, rng.uniform(0, 0.5))
        before = check(tmp_path, before, first, last)
        events, heard = told(tmp_path), events
        assert events == [*heard, *range(first, first + len(events) - len(heard))]
        safe |= set(range(first, last + 1))
        films += max(0, last + 1 - first - BEHIND)
        assert shown(tmp_path) >= films
        for book in tmp_path.glob("r-*.xlsx"):  # What has its name is whole.
            openpyxl.load_workbook(book, read_only=True).close()
        for path in tmp_path.glob("coco-*.json"):
            json.loads(path.read_text())
    assert len(safe) > KILLS, "most of them came too early to show anything"
    goes_on(tmp_path, before, events, safe, first=50_000)


def check(folder: Path, before: dict[str, list[int]], first: int, last: int) -> dict[str, list[int]]:
    """Each sink has what it had before, and what was written since up to the kill. Gives what each has now."""
    now = numbers(folder)
    for name, found in now.items():
        # The one that was being written when the kill came may be there too, as a whole.
        whole = [*before[name], *range(first, last + 1)]
        assert found in (whole, [*whole, last + 1]), f"{name} has lost frames, or has some that nobody wrote"
    return now


def goes_on(folder: Path, before: dict[str, list[int]], events: list[int], safe: set[int], first: int = 3000) -> None:
    """The next start puts everything in order, and writes ten frames more."""
    more = list(range(first, first + 10))
    with station(folder, first, first + 10) as process:
        _, errors = process.communicate()
        assert process.returncode == 0 and errors.count("mended") >= 3, errors
    assert not list(folder.rglob("*.part")), "the next start has put everything in order"
    assert numbers(folder) == {name: [*them, *more] for name, them in before.items()}
    assert told(folder) == [*events, *more], "and those of a run that ends are all there"
    # A workbook and a COCO file cannot be read while they grow: now there is one of each journal.
    books = [openpyxl.load_workbook(it)["Detections"] for it in folder.glob("r-*.xlsx")]
    made = [sorted({row[0] for book in books for row in book.iter_rows(min_row=2, values_only=True)})]
    files = [json.loads(it.read_text())["images"] for it in folder.glob("coco-*.json")]
    made.append(sorted(int(it["file_name"][3:-4]) for them in files for it in them))
    for found in made:
        assert len(found) == len(set(found)) and set(found) >= safe and found[-10:] == more
    assert not list(folder.glob("*.journal*"))
