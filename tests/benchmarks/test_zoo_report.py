"""The table and the plot of docs/zoo.md come from the figures, and from nothing else."""

from __future__ import annotations

import copy
import importlib
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

FIGURE: dict[str, Any] = {"mean": 0.5, "ci": [0.49, 0.51], "by_seed": [0.495, 0.505]}
GAIN: dict[str, Any] = {"mean": 0.52, "ci": [0.51, 0.53], "by_seed": [0.52], "over_base": 0.02,
                        "over_base_ci": [0.01, 0.03], "over_base_seeds_ci": [0.004, 0.036]}  # fmt: skip
TRAINED: dict[str, Any] = {
    "budget": {"task": "bearing", "train": 288, "size": 256, "epochs": 40},
    "pictures": 1000,
    "objects": 2504,
    "small_objects": 1289,
    "small_below_px": 10.0,
    "draws": 1000,
    "seed_spread": {"mask_map": 0.006},
    "entries": {
        "base": {"seeds": [0, 1], "latency": {"of_base": 1.0}, "train_seconds": [1000.0, 1400.0],
                 "mask_map": FIGURE, "small_ap": FIGURE, "boundary_f": FIGURE},
        "dcn": {"seeds": [0], "latency": {"of_base": 1.04}, "train_seconds": [1500.0],
                "mask_map": GAIN, "small_ap": GAIN, "boundary_f": GAIN},
    },
}  # fmt: skip


def report(
    repository: Path, folder: Path, zoo: dict[str, Any], trained: dict[str, Any] = TRAINED
) -> subprocess.CompletedProcess[str]:
    (folder / "zoo.json").write_text(json.dumps(zoo))
    (folder / "trained.json").write_text(json.dumps(trained))
    command = [sys.executable, repository / "benchmarks/zoo_report.py", "--zoo", folder / "zoo.json"]
    command += ["--trained", folder / "trained.json", "--document", folder / "zoo.md"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "zoo.md"
    path.write_text(
        "before\n<!-- costs -->\nformer\n<!-- end of costs -->\nbetween\n<!-- accuracy -->\nformer\n<!-- end of accuracy -->\nafter\n"
    )
    return path


def test_tables_and_plot(repository: Path, document: Path) -> None:
    assert report(repository, document.parent, ZOO).returncode == 0
    text = document.read_text()
    assert text.startswith("before\n") and "\nbetween\n" in text and text.endswith("after\n") and "former" not in text
    assert "| `dcn` | 2.851 M | 2.44 | 329 | 11.60 | `ModDeformConv2d_k3_s1` | 12.5 | 1.25 |" in text
    assert "Other processes" not in text
    first, second = (line for line in text.splitlines() if line.startswith(("| `dcn` | 1", "| base | 2 |")))
    assert (
        first
        == "| `dcn` | 1 | 52.0 | 52.0 | 52.0 | +2.0 (+0.4 to +3.6) | +2.0 (+0.4 to +3.6) | +2.0 (+0.4 to +3.6) | 1.04 |"
    )
    assert second == "| base | 2 | 50.0 | 50.0 | 50.0 |  |  |  | 1.00 |"
    assert "0.6 points apart" in text and "1289 of them small (below 10 px)" in text and "(zoo.png)" in text
    assert document.with_name("zoo.png").read_bytes().startswith(b"\x89PNG")


def test_a_busy_machine_is_told(repository: Path, document: Path) -> None:
    busy = copy.deepcopy(ZOO)
    busy["machine"]["foreign_load"] = 0.5
    assert report(repository, document.parent, busy).returncode == 0
    assert "50% of the machine" in document.read_text()


FAILING: list[tuple[dict[str, Any], float]] = [
    ({"over_base": 0.009}, 1.04),
    ({}, 1.06),
    ({"over_base_seeds_ci": [-0.001, 0.041]}, 1.04),
]
"""Too little gained, too slow, and a gain that may be chance."""


def judged(repository: Path, document: Path, name: str, gain: dict[str, Any], latency: float) -> str:
    """The document where the model under a name, the only one beside the base, has these figures."""
    trained = copy.deepcopy(TRAINED)
    trained["entries"][name] = entry = trained["entries"].pop("dcn")
    entry["mask_map"] |= gain
    entry["latency"]["of_base"] = latency
    assert report(repository, document.parent, ZOO, trained).returncode == 0
    return document.read_text()


def test_a_model_that_reached_the_aim(repository: Path, document: Path) -> None:
    text = judged(repository, document, "edge", {}, 1.04)
    assert "It is +2.0 (+0.4 to +3.6) points at 1.04 times: reached. No other model is so." in text
    assert "start from `edge`" in text


@pytest.mark.parametrize(("gain", "latency"), FAILING)
def test_a_model_that_did_not(gain: dict[str, Any], latency: float, repository: Path, document: Path) -> None:
    text = judged(repository, document, "edge", gain, latency)
    assert "times: not reached." in text and "The default stays the base." in text


def test_another_that_did_is_named(repository: Path, document: Path) -> None:
    text = judged(repository, document, "dcn", {}, 1.04)
    assert "Of the others is so: `dcn`. The default stays the base." in text


@pytest.mark.parametrize(("gain", "latency"), FAILING)
def test_others_that_did_not_are_not(gain: dict[str, Any], latency: float, repository: Path, document: Path) -> None:
    assert "No other model is so. The default stays the base." in judged(repository, document, "dcn", gain, latency)


def test_masks_at_a_quarter_are_no_improvement(repository: Path, document: Path) -> None:
    assert "No other model is so." in judged(repository, document, "base-quarter", {}, 1.0)


def test_a_document_without_marks_is_left_alone(repository: Path, document: Path) -> None:
    document.write_text("no marks")
    assert report(repository, document.parent, ZOO).returncode != 0
    assert document.read_text() == "no marks"


def test_the_committed_figures_are_of_every_planned_run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    zoo_train = importlib.import_module("zoo_train")
    planned: dict[str, list[int]] = {}
    for run in zoo_train.planned(zoo_train.Place()):
        planned.setdefault(run.model, []).append(run.seed)
    assert {len(seeds) for seeds in planned.values()} == {2, 3} and len(planned["base"]) == len(planned["edge"]) == 3
    entries = json.loads((repository / "configs" / "models" / "trained.json").read_text())["entries"]
    assert {name: entry["seeds"] for name, entry in entries.items()} == planned


def test_the_committed_table_is_that_of_the_committed_figures(repository: Path, tmp_path: Path) -> None:
    results = repository / "benchmarks" / "results"
    (tmp_path / "zoo.md").write_bytes((repository / "docs" / "zoo.md").read_bytes())
    figures = json.loads((repository / "configs" / "models" / "trained.json").read_text())
    assert report(repository, tmp_path, json.loads((results / "zoo.json").read_text()), figures).returncode == 0
    assert (tmp_path / "zoo.md").read_bytes() == (repository / "docs" / "zoo.md").read_bytes()
