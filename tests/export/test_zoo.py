"""Every model of ``configs/models``: builds, learns, survives a checkpoint, exports with proof, runs, and stays small.

A model joins by lying there; what it may weigh is in `BUDGETS`.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import lineside
from helpers.zoo import MODELS, checkpoint, labelled_batch, scaled, trained_a_little
from lineside.export import gate_pictures
from lineside.export.bundle import export_bundle
from lineside.export.cut import fused
from lineside.export.graph.build import build_graph
from lineside.export.heads import find_head
from lineside.export.pictures import drawn_pictures
from lineside.export.settle import settle
from lineside.export.ultra import load_model

SIDE = 160
SIZES = [(160, 160), (120, 160), (160, 120), (150, 160), (101, 150), (90, 120), (200, 160), (160, 200)]
KEPT = Path(__file__).resolve().parents[2] / "build" / "zoo"
"""Where the bundles are left for the tests with the oldest onnxruntime."""

BUDGETS: dict[str, tuple[int, float]] = {
    "yolo11-seg-cg": (396, 11.9),
    "yolo11-seg-dcn": (410, 11.9),
    "yolo11-seg-dyhead": (688, 11.7),
    "yolo11-seg-edge": (405, 11.6),
    "yolo11-seg-focus": (375, 12.3),
    "yolo11-seg-freq": (560, 12.2),
    "yolo11-seg-kan": (362, 13.1),
    "yolo11-seg-msda": (545, 12.4),
    "yolo11-seg-rmt": (405, 12.1),
    "yolo11-seg-rmtbb": (556, 10.4),
    "yolo11-seg-ss2d": (445, 11.5),
    "yolo11-seg-unirep": (387, 11.5),
    "yolo11-seg-unireplk-a": (642, 25.2),
}
"""Nodes (those of function bodies counted once each) and megabytes of the ONNX file of each model at n and 160 px."""

MASK_BYTES = 16_000_000
"""No table that depends on the input size may be larger in a file, in bytes."""

FRESH = """
import sys
import numpy as np
import lineside.export
assert not {"torch", "ultralytics"} & set(sys.modules)
from ultralytics import YOLO
import torch
torch.set_num_threads(1)
model = YOLO(sys.argv[1]).model.float().eval()
with torch.no_grad():
    (rows, protos), _ = model(torch.from_numpy(np.load(sys.argv[2])))
np.savez(sys.argv[3], rows=rows.numpy(), protos=protos.numpy())
"""


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate itself is tested elsewhere: small pictures, and no photographs."""
    monkeypatch.setattr(gate_pictures, "photographs", dict)
    monkeypatch.setattr(gate_pictures, "drawn_pictures", lambda names: drawn_pictures(names, SIZES))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_from_structure_to_runtime(name: str, tmp_path: Path) -> None:
    model = load_model(scaled(name, "n"), tasks=("segment",))
    settle(model, drawn_pictures((), SIZES))
    losses = trained_a_little(model, labelled_batch(SIDE))
    assert all(after < before for before, after in itertools.pairwise(losses)), losses
    settle(model, drawn_pictures((), SIZES))  # three steps leave BatchNorm with statistics of the weights before them
    best = checkpoint(model, tmp_path / "best.pt", SIDE)
    survives_a_fresh_process(best, tmp_path)
    KEPT.mkdir(parents=True, exist_ok=True)
    made = export_bundle(best, KEPT / f"{name}.bundle", force=True)
    assert made.parity.passed and made.manifest.input.size == (SIDE, SIDE)
    stays_within_its_budget(name, made.path / made.manifest.model)
    found = lineside.load(made.path, engine="onnxruntime")(drawn_pictures((), [(160, 160)])[0].frame, conf=0.001)
    assert found.image_size == (160, 160)
    assert np.isfinite(found.boxes).all()


def survives_a_fresh_process(best: Path, folder: Path) -> None:
    """Whoever imports nothing but ``lineside.export`` loads the checkpoint, and it computes the same."""
    picture = labelled_batch(SIDE, pictures=1, seed=5)["img"]
    np.save(folder / "in.npy", picture.numpy())
    words = [sys.executable, "-c", FRESH, str(best), str(folder / "in.npy"), str(folder / "out.npz")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    with torch.no_grad():
        (rows, protos), _ = load_model(best)(picture)
    answer = np.load(folder / "out.npz")
    np.testing.assert_allclose(answer["rows"], rows.numpy(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(answer["protos"], protos.numpy(), rtol=1e-3, atol=1e-4)


def stays_within_its_budget(name: str, file: Path) -> None:
    """Measured once, with a little room: what grows beyond it was unrolled or folded by accident."""
    graph = onnx.load(file)
    nodes = len(graph.graph.node) + sum(len(function.node) for function in graph.functions)
    megabytes = file.stat().st_size / 1e6
    most = BUDGETS.get(name, (0, 0.0))
    measured = f"{name}: {nodes} nodes, {megabytes:.2f} MB; its budget is {most}"
    assert nodes <= most[0] and megabytes <= most[1], measured


@pytest.mark.parametrize("name", MODELS)
def test_the_next_scale_builds(name: str) -> None:
    small, large = (
        sum(parameter.numel() for parameter in load_model(scaled(name, scale)).parameters()) for scale in "ns"
    )
    assert small < large < 5 * small


@pytest.mark.parametrize("name", MODELS)
def test_no_large_table_is_folded_into_a_graph_of_640(name: str) -> None:
    model = load_model(scaled(name, "n"))
    if not any(hasattr(layer, "lineside_static") for layer in model.modules()):
        pytest.skip("nothing in it depends on the input size")
    plain = fused(model)
    head = find_head(model, (640, 640), False).contract
    graph, _ = build_graph(plain, head, 1, [str(index) for index in range(head.classes)], "fp32")
    weights = {tuple(parameter.shape) for parameter in plain.parameters()}
    tables = {
        tensor.name: int(np.prod(tensor.dims)) * 4
        for tensor in graph.graph.initializer
        if tuple(tensor.dims) not in weights
    }
    assert max(tables.values()) <= MASK_BYTES, max(tables, key=lambda key: tables[key])
