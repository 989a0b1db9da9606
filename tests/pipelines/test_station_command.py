"""A station from the command line: what it counts, where it writes, how it ends."""

from __future__ import annotations

import csv
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import openpyxl
import pytest

from helpers.documents import ROOT
from helpers.media import pictures

ROW = "pictures name=parts path={parts} ! segment name=m bundle={bundle} conf=0.01 ! tee name=t ! jsonl path=lines.jsonl  t. ! sqlite path=parts.db"


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return pictures(tmp_path / "parts", [(96, 160)] * 3)[0].parent


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    base = sqlite3.connect(f"file:{folder / 'parts.db'}?mode=ro", uri=True)
    try:
        return base.execute(query).fetchall()
    finally:
        base.close()


def test_a_launch_string_runs_to_the_end_of_its_files(cli, parts: Path, bundle: Path, tmp_path: Path) -> None:
    done = cli("launch", ROW.format(parts=parts, bundle=bundle), "--json", "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (branch,) = report["branches"]
    assert (branch["source"], branch["model"], branch["counts"]["inspected"]) == ("parts", "m", 3)
    assert report["complete"] and report["states"] == {"parts": "ENDED"} and not report["hanging"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "lines.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines] == ["parts"] * 3
    assert rows(tmp_path / "out", "select count(*) from frames") == [(3,)]
    tables = cli("launch", ROW.format(parts=parts, bundle=bundle), "--out", tmp_path / "again", cwd=tmp_path)
    assert "parts > m" in tables.stdout and "latency of parts > m, ms" in tables.stdout


def test_two_sources_share_a_model_and_a_table(cli, parts: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "station.yaml").write_text(
        f"""
station: 1
elements:
  one: {{pictures: {{path: parts}}}}
  two: {{synthetic: {{path: parts, fps: 50, count: 5}}}}
  model: {{segment: {{bundle: {bundle}, conf: 0.01}}}}
  lines: {{jsonl: {{path: lines.jsonl}}}}
  table: {{csv: {{path: table.csv}}}}
  book: {{xlsx: {{path: book.xlsx}}}}
  base: {{sqlite: {{path: base.sqlite}}}}
links: [one ! model ! lines, two ! queue policy=every:9 ! model, model ! table, model ! book, model ! base]
"""
    )
    done = cli("station", tmp_path / "station.yaml", "--json", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    counts = {it["source"]: it["counts"] for it in json.loads(done.stdout)["branches"]}
    assert {name: it["inspected"] for name, it in counts.items()} == {"one": 3, "two": 5}
    lines = [json.loads(line) for line in (tmp_path / "out" / "lines.jsonl").read_text().splitlines()]
    assert sorted((line["source"], line["frame"]) for line in lines) == [
        *(("one", k) for k in range(3)),
        *(("two", k) for k in range(5)),
    ]
    assert [line["trigger"] for line in lines if line["source"] == "two"] == [0, 1, 2, 3, 4]
    assert {line["model"] for line in lines} == {"model"}
    wanted = sorted(
        (line["source"], "model", line["frame"], one["score"]) for line in lines for one in line["detections"]
    )
    assert wanted
    with (tmp_path / "out" / "table.csv").open(newline="") as table:
        rows = [(it["source"], it["model"], int(it["frame"]), float(it["score"])) for it in csv.DictReader(table)]
    assert sorted(rows) == wanted
    sheet = openpyxl.load_workbook(next((tmp_path / "out").glob("book*.xlsx")))["Detections"]
    head, *cells = sheet.iter_rows(values_only=True)
    assert sorted(tuple(row[head.index(it)] for it in ("Source", "Model", "Frame", "Score")) for row in cells) == wanted
    with sqlite3.connect(tmp_path / "out" / "base.sqlite") as base:
        found = base.execute(
            "SELECT source, model, sequence, score FROM detections JOIN frames ON frame = id"
        ).fetchall()
    assert sorted(found) == wanted


def test_a_region_that_cannot_be_meant_is_said_before_anything_runs(
    cli, parts: Path, bundle: Path, tmp_path: Path
) -> None:
    row = f"pictures path={parts} ! roi crop=0,0,10,10 polygon=0,0,1,1,2,2 ! segment bundle={bundle} ! jsonl"
    done = cli("launch", row, cwd=tmp_path)
    assert done.returncode == 2 and "one of crop, polygon and perspective" in done.stderr
    assert not list(tmp_path.glob("*.jsonl*"))


def test_describe_says_what_a_file_means_and_draws_it(cli, tmp_path: Path) -> None:
    done = cli("station", ROOT / "configs/stations/demo.yaml", "--describe", "--svg", tmp_path / "line.svg")
    assert done.returncode == 0, done.stderr
    assert "-[latest]-> segment name=model" in done.stdout and "deadline line: 500 ms" in done.stdout
    assert (tmp_path / "line.svg").read_text().startswith("<svg")


SECRET = """
station: 1
elements:
  top: {rtsp: {url: "rtsp://kim:hush5@10.0.0.7/stream"}}
  side: {rtsp: {url: "rtsp://10.0.0.8/stream", user: hush6, password: hush7}}
  raw: {gst-launch: {text: "rtspsrc location=rtsp://10.0.0.9 user-id=hush8 user-pw=hush9 ! decodebin"}}
  out: {rtsp-server: {user: hush1, password: hush2}}
links: [top ! out, side ! out, raw ! out]
"""


@pytest.mark.parametrize("words", [["--check"], ["--describe"], ["--check", "--set", "side.password=hush3"]])
def test_what_a_file_says_is_shown_without_its_credentials(cli, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "s.yaml").write_text(SECRET)
    done = cli("station", tmp_path / "s.yaml", *words)
    assert done.returncode == 0, done.stderr
    assert "hush" not in done.stdout + done.stderr
    for seen in ("10.0.0.7/stream", "10.0.0.8/stream", "10.0.0.9", "***"):
        assert seen in done.stdout
    if "--check" in words:
        side = json.loads(done.stdout)["elements"]["side"]["rtsp"]
        assert side == {"url": "rtsp://10.0.0.8/stream", "user": "***", "password": "***"}


def test_a_launch_string_without_its_quotes_is_not_repeated_with_its_credentials(cli) -> None:
    done = cli("launch", "rtsp", "url=rtsp://kim:hush5@10.0.0.7/stream", "user-pw=hush6", "!", "view")
    assert done.returncode == 2 and "10.0.0.7" in done.stderr
    assert "hush" not in done.stdout + done.stderr


def test_a_drawing_alone_describes_and_runs_nothing(cli, bundle: Path, tmp_path: Path) -> None:
    row = f"synthetic count=2 ! segment bundle={bundle} ! jsonl path=lines.jsonl"
    done = cli("launch", row, "--svg", "line.svg", cwd=tmp_path)
    assert done.returncode == 0 and "-[latest]-> segment" in done.stdout, done.stderr
    assert [it.name for it in tmp_path.iterdir()] == ["line.svg"]
    demo = ROOT / "configs/stations/demo.yaml"
    done = cli("station", demo, "--svg", tmp_path / "demo.svg", "--out", tmp_path / "out")
    assert done.returncode == 0 and "deadline line: 500 ms" in done.stdout, done.stderr
    assert (tmp_path / "demo.svg").read_text().startswith("<svg") and not (tmp_path / "out").exists()
    done = cli("station", demo, "--svg", tmp_path / "no.svg", "--check")
    assert done.returncode == 2 and "choose one of them" in done.stderr and not (tmp_path / "no.svg").exists()
    done = cli("station", ROOT / "demo/station.yaml", "--svg", tmp_path / "no.svg")
    assert done.returncode == 2 and "--svg" in done.stderr and not (tmp_path / "no.svg").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number: signal.Signals, parts: Path, bundle: Path, tmp_path: Path) -> None:
    row = f"synthetic name=line path={parts} fps=50 ! segment name=m bundle={bundle} ! sqlite path=parts.db"
    command = [sys.executable, "-m", "lineside", "launch", row, "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while time.monotonic() < end and not ((tmp_path / "parts.db").exists() and _some(tmp_path)):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(number)
    out, errors = process.communicate(timeout=120)
    report = json.loads(out)
    assert process.returncode == 0, errors
    assert report["stopped"] == number.name and report["complete"]
    counts = report["branches"][0]["counts"]
    written = counts["sinks"]["sqlite"]["written"]
    assert counts["in_flight"] == 0 and rows(tmp_path, "select count(*) from frames") == [(written,)]


def _some(folder: Path) -> bool:
    """Whether the database holds frames already."""
    try:
        return rows(folder, "select count(*) from frames")[0][0] != 0
    except sqlite3.Error:
        return False


OWN = """
import time

import numpy as np

from lineside.pipelines.frame import Frame


def overdue(seconds: str = "0"):
    '''Pictures that were taken so many seconds ago, one after the other; x is one that cannot be read.'''
    for word in seconds.split(","):
        captured = time.monotonic_ns() - (0 if word == "x" else int(word) * 10**9)
        pixels = None if word == "x" else np.zeros((96, 160, 3), np.uint8)
        yield Frame(pixels, captured=captured, error="it is torn" if word == "x" else None)
"""


@pytest.mark.parametrize("late", ["mark", "drop"])
def test_the_report_says_how_the_deadline_was_kept(cli, bundle: Path, tmp_path: Path, late: str) -> None:
    """Three parts are late by 400, 1400 and 2400 seconds and what their inspection takes; the others have their ten minutes."""
    (tmp_path / "own.py").write_text(OWN)
    row = (
        f"own.py:overdue name=line seconds=0,1000,2000,0,x,3000 ! segment name=m bundle={bundle} ! jsonl path=lines.jsonl  "
        "own.py:overdue name=free seconds=0,5000 ! m."
    )
    terms = ["--deadline", "10m", "--late", late]
    done = cli("launch", row, *terms, "--json", cwd=tmp_path)
    line, free = json.loads(done.stdout)["branches"]
    assert (line["deadline_ms"], line["missed"]) == (600_000.0, {"count": 4, "share": round(4 / 6, 6)})
    assert line["counts"]["failed"] == 1 and free["missed"] == {"count": 1, "share": 0.5}
    if late == "drop":  # Its time was over before anybody could look at it.
        assert (line["counts"]["never_inspected"], line["lateness_ms"]) == (3, None)
        return
    by = line["lateness_ms"]
    assert line["counts"]["late"] == line["stages"]["late by"]["count"] == 3
    for name, seconds in {"p50": 1400, "p99": 2400, "max": 2400}.items():
        assert seconds * 999 <= by[name] < (seconds + 600) * 1000
    assert free["lateness_ms"]["p50"] == free["lateness_ms"]["max"] > 3_000_000
    tables = cli("launch", row, *terms, cwd=tmp_path).stdout
    assert "deadlines, ms" in tables and "66.67%" in tables and "late by, p50" in tables
