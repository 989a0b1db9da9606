"""The whole way on a new data set with nothing but commands: synth, train, export, verify, inspect, run, profile."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import openpyxl
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

BLOCKED = ("torch", "torchvision", "onnx", "ultralytics")
GUARD = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ImportError(f"{{name}} is not for the line")

sys.meta_path.insert(0, Block())
"""
"""A sitecustomize module that makes the training side's libraries vanish."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("desk")


@pytest.fixture(scope="module")
def bundle(desk: Path) -> Path:
    """A bundle of a model that was trained a minute ago on a set that was drawn a minute before."""
    lineside(desk, "synth", "tube", "sets/new", "--train", "40", "--val", "8", "--size", "160", "--seed", "11")
    trained = lineside(
        desk, "train", "yolo11n-seg.yaml", "sets/new/data.yaml", "--imgsz", "160", "--epochs", "10", "--batch", "4",
        "--out", "runs/new", "--json",
    )  # fmt: skip
    best = json.loads(trained.stdout)["best"]
    lineside(desk, "export", best, "-o", "new.bundle", "--weights", "fp16")
    return desk / "new.bundle"


def lineside(desk: Path, *words: str, lean: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs a command that must succeed; ``lean`` without the libraries of the training side."""
    environment = dict(os.environ)
    if lean:
        guard = desk / "guard"
        guard.mkdir(exist_ok=True)
        (guard / "sitecustomize.py").write_text(GUARD.format(names=BLOCKED))
        environment["PYTHONPATH"] = str(guard)
    answer = subprocess.run(
        [sys.executable, "-m", "lineside", *words], cwd=desk, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=1500,
    )  # fmt: skip
    assert answer.returncode == 0, f"lineside {' '.join(words)}\n{answer.stdout}\n{answer.stderr}"
    return answer


def test_the_bundle_carries_its_proof_and_its_origin(desk: Path, bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["names"] == ["capp"]
    assert manifest["input"]["size"] == [160, 160]
    assert manifest["weights_storage"] == "fp16"
    assert len(manifest["provenance"]["weights_sha256"]) == 64
    parity = json.loads((bundle / "reports/parity.json").read_text())
    assert parity["passed"] is True
    assert len(parity["pictures"]) >= 8
    assert (desk / "runs/new/best.safetensors").is_file()
    assert (desk / "runs/new/results.csv").is_file()


def test_the_line_needs_no_torch_to_prove_and_run_it(desk: Path, bundle: Path) -> None:
    verified = json.loads(lineside(desk, "verify", bundle.name, "--json", lean=True).stdout)
    assert verified["passed"] is True
    assert len(verified["golden"]) >= 3
    lineside(desk, "inspect", bundle.name, lean=True)
    saves = [f"--save-{kind}" for kind in ("jsonl", "csv", "xlsx", "coco", "images")]
    lineside(desk, "run", bundle.name, "sets/new/images/val", "--conf", "0.0001", *saves, "--out", "results", lean=True)
    lines = [json.loads(line) for line in (desk / "results/results.jsonl").read_text().splitlines()]
    count = sum(len(line["detections"]) for line in lines)
    assert len(lines) == 8
    assert count > 0
    assert len(json.loads((desk / "results/coco.json").read_text())["annotations"]) == count
    with (desk / "results/results.csv").open(newline="") as table:
        assert len([row for row in csv.DictReader(table) if row["class"]]) == count
    book = openpyxl.load_workbook(desk / "results/results.xlsx", read_only=True)
    assert any(sheet.max_row and sheet.max_row >= count for sheet in book.worksheets)
    assert len(list((desk / "results/images").iterdir())) == 8


def test_it_keeps_a_slow_takt(desk: Path, bundle: Path) -> None:
    words = (
        "profile",
        bundle.name,
        "sets/new/images/val",
        "--takt",
        "500ms",
        "--duration",
        "2s",
        "--policy",
        "every",
        "--json",
    )
    profile: dict[str, Any] = json.loads(lineside(desk, *words, lean=True).stdout)
    assert profile
