"""The demo stations with the commands that docs/station.md shows, where a camera is wanted in another shell: what they leave."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import openpyxl
import pytest

from helpers.documents import ROOT, commands
from helpers.gst import PATIENCE, until
from helpers.industrial import alone
from helpers.running import frames_of
from helpers.served import needs_server
from lineside.pipelines.sources.replay import Replay
from lineside.pipelines.station import read_station

SHOWN = [command for _, command in commands(ROOT / "docs/station.md")]
WRITERS = {
    "jsonl": "lines*.jsonl*",
    "csv": "table*.csv*",
    "xlsx": "book*.xlsx*",
    "coco": "labels*.json*",
    "sqlite": "parts.db",
    "images": "pictures/**/*.jpg",
    "video": "seen*.m*",
    "record": "session/**/*.png",
}
"""Where the sinks of the demo leave what they find, also while they run."""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A working folder as the documents assume it."""
    for name in ("demo", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def shown(pattern: str) -> list[str]:
    """The words of the command that the document shows, without its duration: a busy machine may take longer."""
    (found,) = {it for it in SHOWN if re.fullmatch(pattern, it)}
    words = shlex.split(re.sub(r" --duration \S+", "", found).removesuffix("&"))
    return [sys.executable, *words[1:]] if words[0] == "python" else [sys.executable, "-m", *words]


@contextmanager
def started(words: list[str], desk: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that ends with Ctrl-C."""
    out = (desk / f"out-{len(list(desk.iterdir()))}").open("w+")
    with out:
        process = subprocess.Popen(words, cwd=desk, stdout=subprocess.PIPE, stderr=out, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()
            out.seek(0)
            errors = out.read()
            print(errors)
            assert "Traceback" not in errors


def said(desk: Path, pattern: str) -> re.Match[str] | None:
    """What a program has said on its standard error output."""
    return next((it for path in sorted(desk.glob("out-*")) if (it := re.search(pattern, path.read_text()))), None)


def results(folder: Path) -> dict[str, bool]:
    """Which sinks have left something."""
    return {
        kind: any(it.stat().st_size for it in folder.glob(pattern) if it.is_file()) for kind, pattern in WRITERS.items()
    }


def runs(words: list[str], desk: Path, *, by_itself: bool = False) -> dict[str, Any]:
    """A station leaves results in every sink and ends cleanly; they are what its counts say. Gives the counts."""
    folder = desk / words[words.index("--out") + 1]
    with started([*words, "--json"], desk) as station:
        if not by_itself:
            until(lambda: all(results(folder).values()) or station.poll() is not None, f"results in {folder}")
            assert station.poll() is None, "it ended by itself"
            station.send_signal(signal.SIGINT)
        out, _ = station.communicate(timeout=PATIENCE)
    report = json.loads(out)
    (branch,) = report["branches"]
    counts: dict[str, Any] = branch["counts"]
    lost = counts["late"] + counts["incomplete"] + counts["never_inspected"] + counts["failed"] + counts["in_flight"]
    assert counts["entered"] == counts["inspected"] + sum(counts["dropped"].values()) + lost
    assert counts["inspected"] + counts["late"] > 0 and counts["detections"] > 0
    assert all(it["written"] > 0 and not it["failed"] for it in counts["sinks"].values()), counts["sinks"]
    assert all(results(folder).values()), results(folder)
    assert said(desk, r"page: http://127\.0\.0\.1:\d+/")
    agrees(folder, {name: it["written"] for name, it in counts["sinks"].items()})
    return counts


def agrees(folder: Path, written: dict[str, int]) -> None:
    """What the files hold is what the counters say, and they say the same of every frame."""
    assert not [it for it in folder.rglob("*") if it.name.endswith((".part", ".journal"))], "all of them are finished"
    lines = [json.loads(line) for path in folder.glob("lines*.jsonl") for line in path.read_text().splitlines()]
    found = {line["frame"]: len(line.get("detections", ())) for line in lines}
    assert len(lines) == len(found) == written["lines"] and sum(found.values()) > 0

    events = [json.loads(line) for path in folder.glob("events*.jsonl") for line in path.read_text().splitlines()]
    assert any(event["kind"] == "started" for event in events)

    def same(sink: str, frames: Counter[int]) -> None:
        """Detections by frame; a sink may have given up some results at the end, and then has less."""
        assert frames and all(found[number] == count for number, count in frames.items()), sink
        assert written[sink] < len(found) or sum(frames.values()) == sum(found.values()), sink

    base = sqlite3.connect(f"file:{folder / 'parts.db'}?mode=ro", uri=True)
    frames = base.execute(
        "SELECT sequence, (SELECT count(*) FROM detections WHERE frame = frames.id) FROM frames"
    ).fetchall()
    assert len(frames) == written["store"] and all(found[number] == count for number, count in frames)
    assert base.execute("SELECT count(*) FROM events").fetchone()[0] > 0
    base.close()

    rows = [row for path in folder.glob("table*.csv") for row in csv.DictReader(path.open(newline=""))]
    same("table", Counter(int(row["frame"]) for row in rows))
    books = [openpyxl.load_workbook(path)["Detections"] for path in folder.glob("book*.xlsx")]
    cells = [row[0] for book in books for row in book.iter_rows(min_row=2, values_only=True)]
    same("book", Counter(cells))

    labels = [json.loads(path.read_text()) for path in folder.glob("labels*.json")]
    assert sum(len(it["images"]) for it in labels) == written["labels"]
    assert 0 < sum(len(it["annotations"]) for it in labels) <= sum(found.values())

    pictures = [cv2.imread(str(path)) for path in folder.glob("pictures/**/*.jpg")]
    assert 0 < len(pictures) <= written["pictures"] and all(it is not None for it in pictures)
    assert shown_in(folder) > 0
    session = list(Replay(folder / "session").frames())
    sizes = {tuple(line["size"]) for line in lines}
    assert len(session) == written["session"] and {it.size for it in session} <= sizes


def shown_in(folder: Path) -> int:
    """Pictures that the films of a station show."""
    return sum(frames_of(path) for path in folder.glob("seen*.m*"))


def test_from_pictures_as_of_a_camera(desk: Path) -> None:
    runs(shown(r"lineside station configs/stations/demo\.yaml --duration \S+ --out \S+"), desk)


def test_from_a_film(desk: Path) -> None:
    counts = runs(shown(r"lineside station configs/stations/demo-video\.yaml --out \S+"), desk, by_itself=True)
    frames = frames_of(ROOT / "demo" / "line.mp4")
    assert counts["inspected"] == counts["entered"] == frames == shown_in(desk / "filmed")
    lines = [json.loads(line) for line in (desk / "filmed" / "lines.jsonl").read_text().splitlines()]
    tracks = {it["track"] for line in lines for it in line["detections"]}
    assert 1 < len(tracks) < counts["detections"] / 3, "parts are followed from picture to picture"
    assert all(it["written"] == frames for it in counts["sinks"].values()), "every sink of a film has all of it"


def test_from_a_network_camera(desk: Path) -> None:
    needs_server()
    camera = shown(r"lineside station configs/stations/demo-camera\.yaml .*&")
    station = shown(r"lineside station configs/stations/demo-rtsp\.yaml .*")
    with started([*camera, "--set", "live.port=0"], desk) as process:  # the document's may be taken here
        until(lambda: said(desk, r"can be watched at \S+") or process.poll() is not None, "the camera")
        found = said(desk, r"line can be watched at (rtsp://\S+/line)")
        assert found is not None
        runs([*station, "--set", f"line.url={found[1]}"], desk)


@pytest.mark.slow
def test_from_an_industrial_camera(desk: Path) -> None:
    with alone():
        camera = shown(r"python -m lineside\.pipelines\.aravis\.simulated .*&")
        with started(camera, desk) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "Aravis-Fake-GV01 answers at 127.0.0.1, until Ctrl-C\n"
            runs(shown(r"lineside station configs/stations/demo-gige\.yaml .*"), desk)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("words", [["--address", "192.0.2.77"], ["nowhere"], ["--duration", "soon"], ["--loss", "all"]])
def test_a_camera_that_cannot_be_simulated(words: list[str]) -> None:
    with alone():
        command = [sys.executable, "-m", "lineside.pipelines.aravis.simulated", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env={**os.environ})
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("name", ["demo", "demo-video", "demo-rtsp", "demo-gige"])
def test_every_demo_has_the_sinks_of_the_first(name: str) -> None:
    graph = read_station(ROOT / f"configs/stations/{name}.yaml")
    kinds = {kind for it in graph.elements.values() for kind in it}  # type: ignore[union-attr]
    assert kinds >= {*WRITERS, "view"}
