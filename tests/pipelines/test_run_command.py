"""``lineside run`` as a user meets it: a process, its output, its files, its exit code."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openpyxl
import pytest

from helpers.elements import Counting
from helpers.media import picture, pictures, video
from lineside.pipelines.session import Job, Session
from lineside.pipelines.sinks import FILES
from lineside.pipelines.sources.find import Found
from lineside.runtime.errors import SourceError

Ran = subprocess.CompletedProcess[str]


@pytest.fixture
def run(cli, bundle: Path, tmp_path: Path):
    """Runs ``lineside run`` on the tiny bundle in an empty folder."""

    def command(*words: str | Path, timeout: float = 600) -> Ran:
        return cli("run", bundle, *words, cwd=tmp_path, timeout=timeout)

    return command


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_of_pictures_goes_to_a_new_run_folder(run, tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(120, 160), (40, 30), (480, 640)])
    first, second = run("parts"), run("parts")
    assert first.returncode == second.returncode == 0, first.stderr
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert sorted(it.name for it in folder.iterdir()) == ["images", "results.csv", "results.jsonl"]
        assert len(list((folder / "images").iterdir())) == 3
    frames = lines(folders[0] / "results.jsonl")
    assert [frame["size"] for frame in frames] == [[120, 160], [40, 30], [480, 640]]
    for word in (
        "inspected",
        "detections",
        "part0",
        "fps",
        "p50",
        "p90",
        "p99",
        "infer",
        "total",
        str(folders[0].name),
    ):
        assert word in first.stdout, word
    assert first.stderr == ""


def test_the_summary_as_json_agrees_with_the_files(run, tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(120, 160)] * 4)
    done = run("parts", "--json", "--out", "out", "--save-jsonl", "--save-csv", "--save-xlsx", "--save-coco")
    summary = json.loads(done.stdout)
    assert done.returncode == 0 and summary["complete"] is True
    frames = lines(tmp_path / "out" / "results.jsonl")
    total = sum(len(frame["detections"]) for frame in frames)
    assert summary["counts"]["entered"] == summary["counts"]["inspected"] == len(frames) == 4
    assert summary["counts"]["detections"] == sum(summary["classes"].values()) == total > 0
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == total
    assert len(json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"]) == total
    facts = dict(openpyxl.load_workbook(tmp_path / "out" / "results.xlsx")["Summary"].values)
    assert facts["Detections"] == total and facts["Bundle"].endswith("tiny.bundle")
    assert summary["files"]["coco"] == "out/coco.json" and not (tmp_path / "runs").exists()
    assert summary["stages"]["infer"]["count"] == 4 and summary["fps"] > 0


def test_a_video_becomes_a_video(run, tmp_path: Path) -> None:
    video(tmp_path / "line.mp4", frames=40)
    done = run("line.mp4", "--json")
    assert done.returncode == 0, done.stderr
    folder = Path(json.loads(done.stdout)["results"])
    frames = lines(tmp_path / folder / "results.jsonl")
    np.testing.assert_allclose([frame["pts"] for frame in frames], np.arange(40) / 25, atol=1e-3)
    capture = cv2.VideoCapture(str(tmp_path / folder / "overlay.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 40


def test_options_reach_the_model(run, tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(120, 160)])
    counts = {}
    for name, words in {
        "all": [],
        "one": ["--max-det", "1"],
        "sure": ["--conf", "0.5"],
        "bare": ["--masks", "none"],
        "fast": ["--mode", "throughput", "--threads", "1"],
    }.items():
        done = run("parts", "--out", name, "--save-jsonl", *words)
        assert done.returncode == 0, done.stderr
        counts[name] = lines(tmp_path / name / "results.jsonl")[0]["detections"]
    assert len(counts["all"]) > len(counts["sure"]) > len(counts["one"]) == 1
    assert len(counts["bare"]) == len(counts["all"]) and "mask" not in counts["bare"][0]
    assert counts["fast"] == counts["all"]


def test_one_bad_picture_costs_exit_code_1_and_is_named(run, tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(120, 160)] * 3)
    (tmp_path / "parts" / "part1.png").write_bytes(b"not a picture")
    done = run("parts", "--json", "--out", "out", "--save-jsonl")
    assert done.returncode == 1
    assert done.stderr.strip() == "cannot read parts/part1.png: it is damaged or not a picture"
    summary = json.loads(done.stdout)
    assert summary["counts"]["failed"] == 1 and summary["counts"]["inspected"] == 2 and not summary["complete"]
    frames = lines(tmp_path / "out" / "results.jsonl")
    assert ["error" in frame for frame in frames] == [False, True, False]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nowhere"], "there is no file"),
        (["*.jpg"], "matches no picture"),
        (["bad.png"], "nothing could be inspected: cannot read bad.png"),
        (["bad.mp4"], "cannot read the video bad.mp4"),
        (["good.png", "--conf", "1.5"], "conf=1.5"),
        (["good.png", "--policy", "newest"], "policy 'newest'"),
        (["good.png", "--out", "taken", "--save-jsonl"], "already holds results.jsonl"),
        (["good.png", "--out", "good.png"], "cannot write"),
        (["good.png", "--engine", "abacus"], "abacus"),
        (["63"], "cannot open camera 63"),
    ],
)
def test_bad_input_is_exit_code_2_with_a_sentence(run, tmp_path: Path, words: list[str], reason: str) -> None:
    (tmp_path / "bad.png").write_bytes(b"x")
    (tmp_path / "bad.mp4").write_bytes(b"x")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "results.jsonl").touch()
    assert cv2.imwrite(str(tmp_path / "good.png"), picture((60, 60)))
    done = run(*words)
    assert done.returncode == 2
    assert reason in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
    # A folder of results is left only where there is something to read in it.
    assert all(list(folder.iterdir()) for folder in tmp_path.glob("runs/*"))


def test_a_source_that_breaks_before_its_first_frame(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lineside.pipelines.session.make_source", lambda found, title: Counting(5, breaks=0))
    job = Job(bundle, [Found("synthetic", "64x48")], folder=tmp_path / "out")
    with Session(job, lambda message: None) as session:
        with pytest.raises(SourceError, match="nothing could be inspected: the cable was pulled"):
            session.run(lambda graph: None)


def test_a_source_that_breaks_later_ends_a_run_that_is_incomplete(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lineside.pipelines.session.make_source", lambda found, title: Counting(5, breaks=3))
    heard: list[str] = []
    with Session(Job(bundle, [Found("synthetic", "64x48")], folder=tmp_path / "out"), heard.append) as session:
        summary = session.run(lambda graph: None)
    assert heard == ["the cable was pulled"] and not summary.complete
    assert summary.counts.entered == 3 and summary.counts.balanced


def test_a_results_folder_that_is_a_link_to_nowhere(run, tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(60, 60)])
    (tmp_path / "runs").symlink_to(tmp_path / "unplugged")
    done = run("parts", timeout=60)
    assert done.returncode == 2 and "cannot make a folder in runs" in done.stderr and done.stdout == ""


def test_names_of_any_bytes_and_length(run, tmp_path: Path) -> None:
    data = pictures(tmp_path, [(60, 60)])[0].read_bytes()
    names = ["gbk \udcc8.png", "a" * 240 + ".png", "\u7f3a" * 80 + ".png", 'a\n",=1.png']
    for name in names:
        (tmp_path / name).write_bytes(data)
    saves = [f"--save-{kind}" for kind in FILES]
    for word in names:
        done = run(word, "--out", f"out{names.index(word)}", *saves)
        assert done.returncode == 0 and done.stderr == "", done.stderr
    written = [lines(tmp_path / f"out{k}" / "results.jsonl")[0]["file"] for k in range(len(names))]
    assert written == ["gbk \\udcc8.png", *names[1:]]
    assert all(len(list((tmp_path / f"out{k}" / "images").iterdir())) == 1 for k in range(len(names)))


def test_a_broken_bundle_leaves_nothing_behind(cli, tmp_path: Path) -> None:
    pictures(tmp_path / "parts", [(60, 60)])
    (tmp_path / "broken.bundle").mkdir()
    done = cli("run", "broken.bundle", "parts", cwd=tmp_path)
    assert done.returncode == 2 and "broken.bundle" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_limit_and_no_save(run, tmp_path: Path) -> None:
    done = run("synthetic:64x48", "--limit", "7", "--no-save", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["counts"]["entered"] == 7 and summary["results"] is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_whole_files(bundle: Path, tmp_path: Path, stop: signal.Signals) -> None:
    video(tmp_path / "line.mp4", frames=60)
    endless = ["line.mp4"] * 500
    saves = ["--save-jsonl", "--save-csv", "--save-xlsx", "--save-coco", "--save-images", "--save-video"]
    command = [sys.executable, "-m", "lineside", "run", str(bundle), *endless, "--json", "--out", "out", *saves]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        part = tmp_path / "out" / "results.jsonl.part"
        running = threading.Event()
        waited = 0
        while not (part.exists() and part.read_text().count("\n") > 60):
            assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
            running.wait(0.02)
            waited += 1
            assert waited < 3000, "the run never began"
        os.killpg(process.pid, stop)  # As Ctrl-C on a terminal does: all processes of the group get it.
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    summary = json.loads(out)
    assert summary["stopped"] == stop.name and summary["complete"] is False
    said = errors.splitlines()  # a run of more than five seconds says how far it is, and this is all it says
    assert all(re.fullmatch(r"\w+: \d+( of \d+)? frames, [\d.]+ fps", line) for line in said), errors
    inspected = summary["counts"]["inspected"]
    assert summary["counts"]["entered"] == inspected > 60, "what had been read was still inspected and written"
    folder = tmp_path / "out"
    assert not list(folder.glob("*.part*"))
    frames = lines(folder / "results.jsonl")
    assert len(frames) == inspected == len(list((folder / "images").glob("*.jpg")))
    total = sum(len(frame["detections"]) for frame in frames)
    assert len(json.loads((folder / "coco.json").read_text())["annotations"]) == total
    assert dict(openpyxl.load_workbook(folder / "results.xlsx")["Summary"].values)["Detections"] == total
    capture = cv2.VideoCapture(str(folder / "overlay.mp4"))
    count = 0
    while capture.grab():
        count += 1
    assert count == inspected


def test_plain_output_has_no_escape_codes(run, tmp_path: Path) -> None:
    pictures(tmp_path / "[parts]", [(60, 60)])
    done = run("[parts]", "--no-save")
    assert done.returncode == 0 and "\x1b" not in done.stdout + done.stderr and "[parts]" in done.stdout
