"""The whole way on a new data set with nothing but commands: synth, train, export, verify, inspect, run, profile."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import openpyxl
import pytest

from lineside.runtime.bundle import write_manifest
from lineside.runtime.manifest import decode_manifest

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
    lineside(
        desk, "export", best, "-o", "new.bundle", "--weights", "fp16", "--precision", "int8-cpu",
        "--data", "sets/new/data.yaml", "--calibration", "16",
    )  # fmt: skip
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


def test_another_precision_says_what_it_loses(desk: Path, bundle: Path) -> None:
    """Calibrated on training pictures, measured on the others beside FP32, and good enough for its own gate."""
    (variant,) = json.loads((bundle / "reports/precision.json").read_text())["variants"]
    assert variant["calibration"] == "16 pictures of 40: training pictures of data.yaml"
    loss = variant["loss"]
    assert (loss["pictures"], loss["aim"]) == (8, 0.005)
    assert loss["fp32"] > 0 and loss["variant"] > 0
    assert loss["difference"]["value"] == pytest.approx(loss["variant"] - loss["fp32"])
    assert loss["difference"]["low"] <= loss["difference"]["value"] <= loss["difference"]["high"]
    verified = json.loads(lineside(desk, "verify", bundle.name, "--precision", "int8-cpu", "--json", lean=True).stdout)
    assert verified["passed"] is True
    assert "int8-cpu" in lineside(desk, "inspect", bundle.name, lean=True).stdout


def test_it_finds_what_torch_finds(desk: Path, bundle: Path) -> None:
    """Accuracy beside the very weights, on the pictures that they were trained on: those have most to find."""
    before = sorted((desk / "sets").rglob("*"))
    words = ("--data", "sets/new/data.yaml", "--split", "train", "--weights", "runs/new/best.pt", "--json")
    measured = json.loads(lineside(desk, "verify", bundle.name, *words).stdout)["accuracy"]
    assert measured["same_weights"] is True
    assert measured["pictures"] == 40
    for kind in ("box", "mask"):
        assert measured["figures"][kind]["map50"] > 0.05
        for name in ("mAP50", "mAP50-95"):
            delta = measured["differences"][f"{kind} {name}"]
            assert abs(delta["value"]) < 0.01
            assert delta["low"] <= 0.001
            assert delta["high"] >= -0.001
        # Ultralytics judges boxes much as COCO does, and masks at a quarter of the resolution.
        assert measured["validation"][kind]["mAP50"] == pytest.approx(measured["torch"][kind]["map50"], abs=0.1)
    assert abs(measured["differences"]["mask boundary F 1 px"]["value"]) < 0.02
    assert sorted((desk / "sets").rglob("*")) == before, "no cache of labels beside the user's set"


def test_a_bundle_that_is_worse_than_its_weights_fails(desk: Path, bundle: Path) -> None:
    """Its masks are turned inside out and every hash is right again."""
    worse = Path(shutil.copytree(bundle, desk / "worse.bundle"))
    model = onnx.load(worse / "model.onnx")
    casts = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    for node in model.graph.node:
        if node.output[0].startswith("mc"):
            for name in (casts.get(node.input[1], node.input[1]), node.input[2]):
                tensor = next(t for t in model.graph.initializer if t.name == name)
                tensor.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, worse / "model.onnx")
    write_manifest(worse, decode_manifest((worse / "manifest.json").read_bytes(), "worse"))
    words = ["verify", "worse.bundle", "--data", "sets/new/data.yaml", "--split", "train", "--limit", "16"]
    answer = subprocess.run(
        [sys.executable, "-m", "lineside", *words, "--weights", "runs/new/best.pt"], cwd=desk, capture_output=True,
        text=True, timeout=600,
    )  # fmt: skip
    assert answer.returncode == 1, answer.stderr
    assert "NOT verified" in answer.stdout
    assert "mask mAP50-95 is surely worse than torch's" in answer.stdout


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
