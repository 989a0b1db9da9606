"""The table and the plot of docs/zoo.md come from the figures, and from nothing else."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ZOO: dict[str, Any] = {
    "scale": "n",
    "imgsz": [320, 320],
    "rounds": 5,
    "machine": {"processor": "P", "threads": 2, "onnxruntime": "1.31.1", "torch": "2.14", "foreign_load": 0.01},
    "entries": [
        {"name": "base", "parameters": 2_869_000, "gflops": 2.45, "nodes": 355, "bytes": 11_670_000, "custom_ops": [],
         "latency_ms": 10.0, "relative": 1.0},
        {"name": "dcn", "parameters": 2_851_000, "gflops": 2.44, "nodes": 329, "bytes": 11_600_000,
         "custom_ops": ["ModDeformConv2d_k3_s1"], "latency_ms": 12.5, "relative": 1.25},
    ],
}  # fmt: skip

TRAINED = {
    "entries": {
        "base": {"mask_map": {"mean": 0.50, "ci": [0.49, 0.51]}},
        "dcn": {"mask_map": {"mean": 0.52, "ci": [0.51, 0.53]}, "boundary_f": {"mean": 0.7, "ci": [0.6, 0.8]}},
    }
}


def report(
    repository: Path, folder: Path, zoo: dict[str, Any], trained: dict[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    (folder / "zoo.json").write_text(json.dumps(zoo))
    if trained is not None:
        (folder / "trained.json").write_text(json.dumps(trained))
    command = [sys.executable, repository / "benchmarks/zoo_report.py", "--zoo", folder / "zoo.json"]
    command += ["--trained", folder / "trained.json", "--document", folder / "zoo.md"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "zoo.md"
    path.write_text("before\n<!-- zoo -->\nold\n<!-- end of zoo -->\nafter\n")
    return path


def test_table_without_training(repository: Path, document: Path) -> None:
    assert report(repository, document.parent, ZOO).returncode == 0
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| `dcn` | 2.851 M | 2.44 | 329 | 11.60 | `ModDeformConv2d_k3_s1` | 12.5 | 1.25 |" in text
    assert "mAP" not in text and "png" not in text and "Other processes" not in text
    assert not document.with_name("zoo.png").exists()


def test_accuracy_and_plot_where_trained(repository: Path, document: Path) -> None:
    busy = copy.deepcopy(ZOO)
    busy["machine"]["foreign_load"] = 0.5
    assert report(repository, document.parent, busy, TRAINED).returncode == 0
    text = document.read_text()
    assert "mask mAP50-95" in text and "boundary F" in text and "AP small" not in text
    assert "0.520 (0.510 to 0.530)" in text and "50% of the machine" in text and "(zoo.png)" in text
    assert document.with_name("zoo.png").read_bytes().startswith(b"\x89PNG")


def test_a_document_without_marks_is_left_alone(repository: Path, document: Path) -> None:
    document.write_text("no marks")
    assert report(repository, document.parent, ZOO).returncode != 0
    assert document.read_text() == "no marks"


def test_the_committed_table_is_that_of_the_committed_figures(repository: Path, tmp_path: Path) -> None:
    results = repository / "benchmarks" / "results"
    (tmp_path / "zoo.md").write_bytes((repository / "docs" / "zoo.md").read_bytes())
    trained = results / "zoo_train.json"
    figures = json.loads(trained.read_text()) if trained.is_file() else None
    assert report(repository, tmp_path, json.loads((results / "zoo.json").read_text()), figures).returncode == 0
    assert (tmp_path / "zoo.md").read_bytes() == (repository / "docs" / "zoo.md").read_bytes()
