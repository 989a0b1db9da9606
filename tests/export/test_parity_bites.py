"""Faults planted into the side that ships, and the gate that must see each of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from lineside import cli
from lineside.export.parity import gate, masks
from lineside.export.parity.budget import FP32
from lineside.export.parity.result import ParityReport
from lineside.export.settle import settle
from lineside.export.ultra import load_model
from lineside.runtime.engines.onnxruntime import OnnxRuntimeEngine
from lineside.runtime.geometry import Letterbox
from lineside.runtime.postprocess import Postprocessor
from lineside.runtime.preprocess import Preprocessor

if TYPE_CHECKING:
    from conftest import Stage

Tensors = list[npt.NDArray[np.float32]]


def run(stage: Stage) -> ParityReport:
    return gate.run_gate(
        stage.shipped, stage.reference, stage.bundle.manifest.head, stage.pictures, FP32,
        described="torch", pictures_from="test",
    )  # fmt: skip


def failed(report: ParityReport) -> set[str]:
    return {verdict.level for verdict in report.verdicts if not verdict.passed}


def change_outputs(monkeypatch: pytest.MonkeyPatch, change: Callable[[Tensors], Tensors]) -> None:
    """Lets the engine answer something else than the graph says."""
    infer = OnnxRuntimeEngine.infer

    def wrong(self: OnnxRuntimeEngine, inputs: Mapping[str, Any]) -> Tensors:
        return change([output.copy() for output in infer(self, inputs)])

    monkeypatch.setattr(OnnxRuntimeEngine, "infer", wrong)


def change_decoding(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Tensors, Letterbox], tuple[Tensors, Letterbox]]
) -> None:
    """Lets the decoder look at something else than the engine gave it; the raw tensors stay right."""
    decode = Postprocessor.run

    def wrong(self: Postprocessor, outputs: Any, box: Letterbox, **options: Any) -> Any:
        return decode(self, *change([output.copy() for output in outputs], box), **options)

    monkeypatch.setattr(Postprocessor, "run", wrong)


def test_nothing_planted_passes(stage: Stage) -> None:
    report = run(stage)
    assert report.passed and not failed(report) and not report.blind
    assert [verdict.level for verdict in report.verdicts] == ["raw", "anchors", "masks"]
    assert len(report.pictures) >= 8
    for picture in report.pictures:
        assert len(picture.raw) == 10 and min(measure.cosine for measure in picture.raw) > 0.9999999
        assert picture.anchors.compared >= 50 and picture.anchors.box_px < 0.01
        assert picture.input_max_abs < 1e-6
    assert sum(picture.masks.compared for picture in report.pictures) > 100


def test_native_masks_agree_where_padding_falls_on_whole_cells(stage: Stage) -> None:
    whole = [picture for picture in run(stage).pictures if picture.image_size in {(120, 160), (160, 120), (160, 160)}]
    assert len(whole) == 3
    assert all(picture.masks.native_iou >= 0.9999 for picture in whole)


def test_wrong_pad_of_the_input(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = Preprocessor.prepare

    def shifted(self: Preprocessor, frame: Any, out: npt.NDArray[np.float32]) -> Letterbox:
        box = prepare(self, frame, out)
        out[...] = np.roll(out, 1, axis=2)
        return box

    monkeypatch.setattr(Preprocessor, "prepare", shifted)
    assert "raw" in failed(run(stage))


def test_wrong_pad_on_the_way_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    change_decoding(monkeypatch, lambda out, box: (out, replace(box, pad=tuple(max(0, side - 1) for side in box.pad))))
    assert {"anchors", "masks"} <= failed(run(stage))


def test_one_gain_for_both_axes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Letterbox, "scale_xy", property(lambda self: (self.scale, self.scale)))
    report = run(stage)
    assert "anchors" in failed(report)
    assert "box" in next(verdict.reason for verdict in report.verdicts if verdict.level == "anchors")


def test_swapped_class(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    names = stage.bundle.manifest.head.output_names

    def swap(outputs: Tensors) -> Tensors:
        for name, output in zip(names, outputs, strict=True):
            if name.startswith("cls"):
                output[:] = np.roll(output, 1, axis=1)
        return outputs

    change_outputs(monkeypatch, swap)
    report = run(stage)
    assert "anchors" in failed(report)
    assert "class" in next(verdict.reason for verdict in report.verdicts if verdict.level == "anchors")


def test_shifted_prototype(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    change_outputs(monkeypatch, lambda out: [*out[:-1], np.roll(out[-1], 1, axis=3)])
    assert {"raw", "masks"} <= failed(run(stage))


def test_swapped_coefficients_are_seen_by_the_masks_alone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    names = stage.bundle.manifest.head.output_names

    def swap(outputs: Tensors, box: Letterbox) -> tuple[Tensors, Letterbox]:
        return [np.roll(o, 1, 1) if n.startswith("mc") else o for n, o in zip(names, outputs, strict=True)], box

    change_decoding(monkeypatch, swap)
    assert failed(run(stage)) == {"masks"}


def test_half_a_cell_between_mask_and_picture(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def between(outputs: Tensors, box: Letterbox) -> tuple[Tensors, Letterbox]:
        protos = outputs[-1]
        return [*outputs[:-1], (protos + np.roll(protos, 1, axis=3)) / 2], box  # what u without its - 0.5 samples

    change_decoding(monkeypatch, between)
    assert failed(run(stage)) == {"masks"}


def test_half_a_picture_pixel_between_the_masks(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = masks.rule_mask

    def moved(coefficients: Any, protos: Any, box: Any, at: Any) -> Any:
        return rule(coefficients, protos, box, replace(at, left=at.left - at.gain[0] / 2))

    monkeypatch.setattr(masks, "rule_mask", moved)  # the same distance as if the bundle's masks had moved
    assert failed(run(stage)) == {"masks"}


def test_half_a_pixel_in_the_boxes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    to_picture = stage.shipped.best

    def moved(view: Any, count: int) -> Any:
        found = to_picture(view, count)
        return replace(found, boxes=found.boxes + np.float32(0.5))

    monkeypatch.setattr(stage.shipped, "best", moved)
    assert failed(run(stage)) == {"anchors"}


def test_half_a_pixel_in_the_letterbox(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = Preprocessor.prepare

    def half(self: Preprocessor, frame: npt.NDArray[np.uint8], out: npt.NDArray[np.float32]) -> Letterbox:
        box = prepare(self, frame, out)
        rows, columns = box.content_size
        # Corners aligned with corners instead of pixel areas with pixel areas: half a pixel at the borders.
        sx, sy = (frame.shape[1] - 1) / max(1, columns - 1), (frame.shape[0] - 1) / max(1, rows - 1)
        x, y = np.meshgrid(np.arange(columns) * sx, np.arange(rows) * sy)
        scaled = cv2.remap(frame, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
        left, top = box.pad
        out[:, top : top + rows, left : left + columns] = scaled[..., ::-1].transpose(2, 0, 1) / np.float32(255)
        return box

    monkeypatch.setattr(Preprocessor, "prepare", half)
    assert "raw" in failed(run(stage))


def test_beyond_the_budget_no_bundle_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change_outputs(monkeypatch, lambda out: [*out[:-1], np.roll(out[-1], 1, axis=3)])
    target = tmp_path / "bad.bundle"
    code = cli.main(["export", "yolo11n-seg.yaml", "-o", str(target), "--imgsz", "96"])
    printed = capsys.readouterr()
    assert code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.bundle.parity.json"]
    assert "level 'raw'" in printed.err and "masks" in printed.err and "on picture '" in printed.err
    assert str(tmp_path / "bad.bundle.parity.json") in printed.err and "Traceback" not in printed.err
    report = json.loads((tmp_path / "bad.bundle.parity.json").read_text())
    assert report["passed"] is False
    assert [v["level"] for v in report["verdicts"] if not v["passed"]] == ["raw", "masks"]
    assert "FAILED" in printed.out and "Parity with torch" in printed.out


def test_a_model_that_answers_every_picture_alike_is_told_of(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_model("yolo11n-seg.yaml")
    settle(model, stage.pictures)
    with torch.no_grad():
        model.model[0].conv.weight.zero_()
    torch.save({"model": model}, tmp_path / "blind.pt")
    cli.main(["export", str(tmp_path / "blind.pt"), "-o", str(tmp_path / "blind.bundle"), "--imgsz", "96"])
    assert "warning: the model answers every picture alike" in capsys.readouterr().err
