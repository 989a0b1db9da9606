"""The demo stations that want a camera, with the commands that docs/station.md shows: cameras in one shell, station in another."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.documents import ROOT, commands
from helpers.gst import PATIENCE, until
from helpers.industrial import alone
from helpers.served import needs_server
from lineside.pipelines.station import read_station

SHOWN = [command for _, command in commands(ROOT / "docs/station.md")]
WRITERS = {"jsonl": "lines*.jsonl*", "csv": "table*.csv*", "sqlite": "parts.db", "images": "pictures/**/*.jpg"}
"""Where the sinks of the demo leave what they find."""


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


def runs(words: list[str], desk: Path) -> None:
    """A station leaves results in every sink and ends cleanly; its counts add up."""
    folder = desk / words[words.index("--out") + 1]
    with started([*words, "--json"], desk) as station:
        until(lambda: all(results(folder).values()) or station.poll() is not None, f"results in {folder}")
        assert station.poll() is None, "it ended by itself"
        station.send_signal(signal.SIGINT)
        out, _ = station.communicate(timeout=PATIENCE)
    (branch,) = json.loads(out)["branches"]
    counts = branch["counts"]
    lost = counts["late"] + counts["incomplete"] + counts["never_inspected"] + counts["failed"] + counts["in_flight"]
    assert counts["entered"] == counts["inspected"] + sum(counts["dropped"].values()) + lost
    assert counts["inspected"] + counts["late"] > 0 and counts["detections"] > 0
    assert all(it["written"] > 0 for it in counts["sinks"].values())


def test_from_a_network_camera(desk: Path) -> None:
    needs_server()
    camera = shown(r"lineside station configs/stations/demo-camera\.yaml .*&")
    station = shown(r"lineside station configs/stations/demo-rtsp\.yaml .*")
    with started([*camera, "--set", "live.port=0"], desk) as process:  # the document's may be taken here
        until(lambda: said(desk, r"can be watched at \S+") or process.poll() is not None, "the camera")
        found = said(desk, r"line can be watched at (rtsp://\S+/line)")
        assert found is not None
        runs([*station, "--set", f"line.url={found[1]}"], desk)


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
