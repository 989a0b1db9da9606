"""yolo11-seg-focus: trained with its FocusPixel branch, judged, exported with proof, and read by the runtime."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from ultralytics.cfg import get_cfg

import lineside
from helpers.zoo import labelled_batch
from lineside import cli
from lineside.export.bundle import export_bundle
from lineside.export.heads import find_head
from lineside.export.modules.focus import focus_loss
from lineside.export.parity.budget import FP32
from lineside.export.parity.gate import run_gate
from lineside.export.parity.letterbox import letterboxed, place
from lineside.export.parity.raw import compare_focus
from lineside.export.parity.reference import TorchReference
from lineside.export.parity.shipped import Shipped
from lineside.export.pictures import drawn_pictures
from lineside.export.settle import settle
from lineside.export.synth.dataset import write_dataset
from lineside.export.ultra import load_model
from lineside.runtime.bundle import open_bundle
from lineside.runtime.contract import HeadContract
from lineside.runtime.engines.onnxruntime import OnnxRuntimeEngine
from lineside.runtime.errors import ExportError, LinesideError
from oracle import focus as oracle

MODEL = "yolo11n-seg-focus.yaml"
SIDE = 160


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: What it left.
        data: Its data set.
        printed: What the command printed with ``--json``.
        said: What it said meanwhile.
    """

    folder: Path
    data: Path
    printed: dict[str, Any]
    said: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs of ``lineside train``, from weights whose branch sees focus in about half of all cells."""
    folder = tmp_path_factory.mktemp("focus")
    data = write_dataset("bearing", folder / "set", 12, 6, SIDE, seed=5, photos=False)
    model = load_model(MODEL)
    settle(model, drawn_pictures(("Defect",)))
    with torch.no_grad():
        branch = model.model[-1].focus
        branch.score.weight.mul_(30)
        branch.score.bias.zero_()
    torch.save({"model": model, "train_args": {"task": "segment"}, "epoch": -1}, folder / "start.pt")
    words = ["train", folder / "start.pt", data, "--imgsz", SIDE, "--batch", 4, "--epochs", 2, "--threads", 1,
             "--set", "lr0=0.0002", "--set", "warmup_epochs=0", "--device", "cpu", "--out", folder / "run", "--json"]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        printed, said = _said(patch, [str(word) for word in words])
    return Run(folder / "run", data, printed, said)


def _said(patch: pytest.MonkeyPatch, words: list[str]) -> tuple[dict[str, Any], str]:
    """Runs the command line in this process; what it printed, and what it said on standard error."""
    import io
    import sys

    out, err = io.StringIO(), io.StringIO()
    patch.setattr(sys, "stdout", out)
    patch.setattr(sys, "stderr", err)
    assert cli.main(words) == 0, err.getvalue()
    return json.loads(out.getvalue().splitlines()[-1]), err.getvalue()


@pytest.fixture(scope="module")
def bundle(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of those weights."""
    return export_bundle(run.folder / "best.pt", tmp_path_factory.mktemp("b") / "f.bundle").path


@pytest.fixture(scope="module")
def loaded(bundle: Path) -> Iterator[lineside.runtime.Segmenter]:
    with lineside.load(bundle) as model:
        yield model


class TestTraining:
    def test_the_branch_learns_together_with_the_rest(self) -> None:
        model = load_model(MODEL, seed=2)
        model.args = get_cfg(overrides={"task": "segment"})
        model.train().requires_grad_(True)
        model.model[-1].reference = 0.0  # the discs are small at the sizes as they stand
        batch = labelled_batch(SIDE)
        targets = model.model[-1].targets(batch, torch.zeros(2, 2, SIDE // 16, SIDE // 16))
        assert 20 < int((targets == 1).sum()) < 180 and int((targets == 0).sum()) > 20
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        losses, totals = [], []
        for _ in range(6):
            loss, items = model.loss(batch)
            assert list(items)[-1] == "focus_loss" and len(loss) == len(items)
            assert loss[-1].item() == pytest.approx(len(batch["img"]) * items["focus_loss"].item(), rel=1e-5)
            losses.append(items["focus_loss"].item())
            totals.append(loss.sum().item())
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
        assert all(later < earlier for earlier, later in pairwise(losses)), losses
        assert totals[-1] < totals[0]

    def test_its_loss_reaches_the_backbone_and_has_a_weight(self) -> None:
        model = load_model(MODEL)
        head = model.model[-1]
        model.train().requires_grad_(True)
        batch = labelled_batch(SIDE)
        logits = model(batch["img"])["focus"]
        focus_loss(logits, head.targets(batch, logits)).backward()
        assert model.model[0].conv.weight.grad.abs().max() > 0
        assert head.cv4[0][0].conv.weight.grad is None
        model.args = get_cfg(overrides={"task": "segment"})
        torch.manual_seed(1)
        once = model.loss(batch)[1]["focus_loss"]
        head.gain = 3.0
        assert model.loss(batch)[1]["focus_loss"].item() == pytest.approx(3 * once.item(), rel=1e-4)

    def test_targets_are_the_boxes_of_the_batch_at_the_size_of_the_input(self) -> None:
        head = load_model(MODEL).model[-1]
        assert (head.sizes, head.reference) == ((5.0, 64.0, 90.0), 512.0)
        batch = {
            "bboxes": torch.tensor([[0.25, 0.5, 0.05, 0.1], [0.75, 0.5, 0.125, 0.25], [0.5, 0.5, 0.5, 0.5]]),
            "batch_idx": torch.tensor([0.0, 1.0, 1.0]),
        }
        got = head.targets(batch, torch.zeros(2, 2, 20, 40))  # 320 x 640: the sizes as they stand
        small, middle = [[144.0, 144, 176, 176]], [[440.0, 120, 520, 200], [160, 80, 480, 240]]
        for picture, boxes in enumerate((small, middle)):
            want = oracle.labels(np.array(boxes), (20, 40), 5, 64, 90, 16, False)
            assert set(want.ravel()) == ({0, 1}, {0, -1})[picture]
            assert np.array_equal(got[picture].numpy(), want)
        half = head.targets(batch, torch.zeros(2, 2, 8, 16))  # 128 x 256: half the sizes
        for picture, boxes in enumerate((small, middle)):
            want = oracle.labels(np.array(boxes) * 0.4, (8, 16), 2.5, 32, 45, 16, False)
            assert set(want.ravel()) == ({0, 1}, {0, -1})[picture]
            assert np.array_equal(half[picture].numpy(), want)

    def test_sizes_come_from_the_row_and_wrong_ones_are_refused(self, tmp_path: Path) -> None:
        row = "base: yolo11-seg.yaml\nhead: [[16, 19, 22], 1, Segment_Focus, [nc, 32, 256, {a: %s, b: 30, gain: 2}]]\n"
        (tmp_path / "yolo11n-mine-seg.yaml").write_text(row % 3)
        head = load_model(tmp_path / "yolo11n-mine-seg.yaml").model[-1]
        assert (head.sizes, head.gain) == ((3.0, 30.0, 90.0), 2.0)
        (tmp_path / "yolo11n-mine-seg.yaml").write_text(row % 40)
        with pytest.raises(LinesideError, match="a < b <= c"):
            load_model(tmp_path / "yolo11n-mine-seg.yaml")


@pytest.mark.slow
class TestRun:
    def test_loss_recall_and_precision_are_in_all_reports(self, run: Run) -> None:
        rows = list(csv.DictReader((run.folder / "results.csv").open()))
        assert len(rows) == 2 and None not in rows[0]
        names = {"train/focus_loss", "val/focus_loss", "metrics/recall(F)", "metrics/precision(F)"}
        assert names <= set(rows[0])
        assert all(0 < float(row[name]) < 10 for row in rows for name in names)
        best = json.loads((run.folder / "settings.json").read_text())["best"]
        assert run.printed["FocusPixel recall"] == best["metrics/recall(F)"]
        assert run.printed["FocusPixel precision"] == best["metrics/precision(F)"]
        line = next(line for line in run.said.splitlines() if line.startswith("epoch 2/2"))
        assert "focus_loss" in line and "FocusPixel recall" in line and "FocusPixel precision" in line

    def test_recall_and_precision_are_those_of_the_weights_on_the_validation_pictures(self, run: Run) -> None:
        model = load_model(run.folder / "best.pt")
        hits = missed = false = 0
        for path in sorted((run.data.parent / "images/val").glob("*.*")):
            side = SIDE + 32  # ultralytics validates with a margin of half a stride
            frame = cv2.copyMakeBorder(cv2.imread(str(path)), 16, 16, 16, 16, cv2.BORDER_CONSTANT, value=(114,) * 3)
            tensor = torch.from_numpy(frame[..., ::-1].transpose(2, 0, 1).copy()).float()[None] / 255
            with torch.no_grad():
                found = model(tensor)[1]["focus"][0].softmax(0)[1].numpy() >= 0.5
            label = run.data.parent / "labels/val" / f"{path.stem}.txt"
            corners = [
                np.array(line.split()[1:], float).reshape(-1, 2) * SIDE + 16 for line in label.read_text().splitlines()
            ]
            boxes = np.array([[*outline.min(0), *outline.max(0)] for outline in corners]).reshape(-1, 4)
            sizes = [value * side / 512 for value in (5, 64, 90)]
            want = oracle.labels(boxes, (side // 16, side // 16), *sizes, 16, False)
            hits += int((found & (want == 1)).sum())
            missed += int((~found & (want == 1)).sum())
            false += int((found & (want == 0)).sum())
        best = json.loads((run.folder / "settings.json").read_text())["best"]
        assert hits > 0 and false > 0
        assert best["metrics/recall(F)"] == pytest.approx(hits / (hits + missed), abs=0.03)  # stored as FP16
        assert best["metrics/precision(F)"] == pytest.approx(hits / (hits + false), abs=0.003)

    def test_the_safetensors_copy_is_the_same_model_though_the_training_began_with_80_classes(self, run: Run) -> None:
        pickled, copied = load_model(run.folder / "best.pt"), load_model(run.folder / "best.safetensors", safe=True)
        assert copied.model[-1].nc == 1 and copied.model[-1].cv3[0][-1].in_channels == 80
        assert copied.model[-1].sizes == pickled.model[-1].sizes
        picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            (mine, _), raw = copied(picture)
            (theirs, _), want = pickled(picture)
        assert torch.equal(mine, theirs) and torch.equal(raw["focus"], want["focus"])


@pytest.mark.slow
class TestBundle:
    def test_the_map_is_in_graph_contract_gate_and_golden_files(self, bundle: Path) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        assert manifest["head"]["focus"] == 16
        graph = onnx.load(bundle / "model.onnx").graph
        assert graph.output[-1].name == "focus"
        assert [d.dim_value for d in graph.output[-1].type.tensor_type.shape.dim] == [1, 1, 10, 10]
        report = json.loads((bundle / "reports/parity.json").read_text())
        assert [verdict["level"] for verdict in report["verdicts"]] == ["raw", "anchors", "masks", "focus"]
        assert all(0 <= picture["focus"] <= 1e-3 for picture in report["pictures"])
        assert all("focus" in {m["output"] for m in picture["raw"]} for picture in report["pictures"])
        with np.load(bundle / "golden/000.npz") as golden:
            assert golden["focus"].shape == (1, 1, 10, 10)

    def test_the_runtime_reads_the_map_that_torch_makes(self, run: Run, loaded: lineside.runtime.Segmenter) -> None:
        model = load_model(run.folder / "best.pt")
        spread = 0.0
        for path in sorted((run.data.parent / "images/val").glob("*.*"))[:3]:
            frame = np.ascontiguousarray(cv2.imread(str(path))[:120])  # padded above and below
            raw = loaded.raw(frame)
            assert list(raw.outputs) == list(loaded.manifest.head.output_names)
            pixels = letterboxed(frame, place((120, SIDE), (SIDE, SIDE)))
            with torch.no_grad():
                own = model(torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None] / 255)
            want = own[1]["focus"].softmax(1)[0, 1].numpy()
            assert raw.focus is not None and raw.focus.dtype == np.float32
            assert np.abs(raw.focus - want).max() < 1e-4
            spread = max(spread, float(np.ptp(want)))
        assert spread > 0.05

    def test_decoding_leaves_the_map_alone(self, run: Run, loaded: lineside.runtime.Segmenter) -> None:
        frame = cv2.imread(str(next((run.data.parent / "images/val").glob("*.*"))))
        raw, found = loaded.raw(frame), loaded(frame, conf=0.001)
        outputs = list(raw.outputs.values())
        outputs[-1] = np.full_like(outputs[-1], np.nan)
        again = lineside.runtime.decode(outputs, loaded.manifest.head, raw.letterbox, conf=0.001)
        assert np.array_equal(again.boxes, found.boxes) and np.array_equal(again.scores, found.scores)

    def test_the_gate_sees_a_map_that_is_off(self, run: Run, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def off(self: OnnxRuntimeEngine, inputs: Any, begun: Any = None) -> Any:
            outputs = infer(self, inputs, begun)
            place = np.unravel_index(np.argmin(np.abs(outputs[-1])), outputs[-1].shape)
            outputs[-1][place] += planted[-1]
            return outputs

        infer = OnnxRuntimeEngine.infer
        monkeypatch.setattr(OnnxRuntimeEngine, "infer", off)
        reference = TorchReference(load_model(run.folder / "best.pt"), (SIDE, SIDE))
        opened = open_bundle(bundle)
        shipped = Shipped(opened)
        pictures = drawn_pictures(("Defect",), [(64 + 8 * index, 160) for index in range(8)])
        planted, failed = [], []
        for change in (0.0, 0.01):  # of a logit; of the probability up to 0.0025
            planted.append(change)
            report = run_gate(
                shipped, reference, opened.manifest.head, pictures, FP32, described="torch", pictures_from="test"
            )
            failed.append([verdict for verdict in report.verdicts if not verdict.passed])
        shipped.close()
        assert [len(verdicts) for verdicts in failed] == [0, 1]
        assert failed[1][0].level == "focus" and "focus map is off by 0.00" in failed[1][0].reason

    def test_verify_and_inspect_know_it(self, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["verify", str(bundle)]) == 0
        assert cli.main(["inspect", str(bundle), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert facts["manifest"]["head"]["focus"] == 16 and facts["parity"]["focus"] <= 1e-3
        assert cli.main(["inspect", str(bundle)]) == 0
        assert "focus map" in capsys.readouterr().out


class TestMeasure:
    def test_it_is_the_greatest_difference_of_a_probability(self) -> None:
        ours, theirs = (np.array([[[values]]], np.float32) for values in ([0.0, 100.0, -900.0], [1.0, 200.0, -800.0]))
        assert compare_focus(ours, theirs) == pytest.approx(1 / (1 + np.exp(-1)) - 0.5)
        assert compare_focus(ours, ours) == 0.0
        assert compare_focus(ours, theirs[..., :2]) == float("inf")
        assert np.isnan(compare_focus(ours, np.full_like(ours, np.nan)))


class TestHead:
    def test_the_head_is_found_with_its_map_and_not_end_to_end(self) -> None:
        model = load_model(MODEL)
        head = find_head(model, (64, 96))
        assert head.focus is model.model[-1].focus
        assert head.contract == HeadContract(kind="levels", classes=80, coefficients=32, input_size=(64, 96), focus=16)
        with pytest.raises(ExportError, match="end"):
            find_head(model, (64, 64), end2end=True)
