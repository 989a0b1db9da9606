from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch import nn

import lineside
from lineside import cli
from lineside.cli.sizes import input_size
from lineside.export import gate_pictures, subject
from lineside.export import prove as proving
from lineside.export.bundle import export_bundle
from lineside.export.cut import fused, rounded_to_fp16
from lineside.export.heads import find_head
from lineside.export.parity.reference import TorchReference
from lineside.export.parity.shipped import Shipped
from lineside.export.pictures import drawn_pictures, read_pictures, tasks_of
from lineside.export.prove import ParityFailed
from lineside.export.results import write_safetensors
from lineside.export.settle import settle
from lineside.export.staging import staged
from lineside.export.ultra import load_model
from lineside.runtime.bundle import list_golden, open_bundle
from lineside.runtime.errors import BadOption, CheckFailed, ExportError, LinesideError, SinkError, SourceError


class TestWhatIsWritten:
    def test_contracts_and_provenance(self, real: Path) -> None:
        manifest = open_bundle(real).manifest
        assert manifest.head.kind == "levels" and manifest.head.classes == 80 and manifest.head.coefficients == 32
        assert manifest.head.strides == (8, 16, 32) and manifest.head.reg_max == 16
        assert manifest.input.size == (160, 160) and manifest.input.batch == 1
        assert manifest.weights_storage == "fp16" and manifest.opset <= 20
        assert manifest.provenance.model == "yolo11n-seg" and "not trained" in manifest.provenance.weights
        assert {"lineside", "torch", "ultralytics", "onnx", "onnxruntime"} <= set(manifest.provenance.tools)

    def test_files(self, real: Path) -> None:
        bundle = open_bundle(real)
        assert len(list_golden(bundle)) == 3
        report = json.loads(bundle.read("reports/parity.json"))
        assert report["passed"] is True and len(report["pictures"]) >= 8
        assert "rounded to FP16" in report["reference"] and report["rounding"]["box_px"] > 0
        assert {"golden/000.npz", "model.onnx", "reports/parity.json"} <= set(bundle.manifest.files)

    def test_the_graph_is_static_fused_and_without_its_tail(self, real: Path) -> None:
        model = onnx.load(real / "model.onnx")
        assert model.ir_version <= 9 and model.producer_name == "lineside"
        shapes = [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output]
        head = open_bundle(real).manifest.head
        assert tuple(output.name for output in model.graph.output) == head.output_names
        assert [tuple(shape) for shape in shapes] == list(head.output_shapes(1))
        kinds = [node.op_type for node in model.graph.node]
        assert "BatchNormalization" not in kinds and "Shape" not in kinds and "Constant" not in kinds
        assert kinds.count("Softmax") == 1  # the attention block's; that of the distance bins is gone
        assert "ConvTranspose" not in kinds and kinds.count("DepthToSpace") == 1
        assert len(kinds) - kinds.count("Cast") < 360
        assert b"ltralytics" not in (real / "model.onnx").read_bytes()

    def test_weights_are_stored_in_half_the_room(self, real: Path) -> None:
        sizes = {1: 0, 10: 0}
        for tensor in onnx.load(real / "model.onnx").graph.initializer:
            if tensor.data_type in sizes:
                sizes[tensor.data_type] += int(np.prod(tensor.dims))
        assert sizes[10] > 20 * sizes[1]  # the convolutions made from two keep float32
        assert (real / "model.onnx").stat().st_size < 6_200_000

    def test_it_runs_without_torch(self, real: Path) -> None:
        with lineside.load(str(real)) as model:
            found = model(np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8), conf=1e-6)
        assert len(found) > 0 and found.names[:2] == ("0", "1")


class TestShapes:
    @pytest.mark.slow
    def test_not_square_in_batches_and_in_full(self, tmp_path: Path) -> None:
        made = export_bundle("yolo11n-seg.yaml", tmp_path / "wide.bundle", imgsz=(96, 160), batch=3)
        assert made.parity.passed and made.verified.passed
        assert made.manifest.input.shape == (3, 3, 96, 160)
        assert made.manifest.weights_storage == "fp32" and "Cast" not in {
            node.op_type for node in onnx.load(made.path / "model.onnx").graph.node
        }
        with lineside.load(str(made.path)) as model:
            frames = [picture.frame for picture in drawn_pictures(())[:4]]
            together = model.many(frames, conf=1e-6)
            assert all(
                np.array_equal(a.boxes, model(f, conf=1e-6).boxes) for a, f in zip(together, frames, strict=True)
            )

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["yolov8n-seg.yaml", "yolo12n-seg.yaml", "yolo26n-seg.yaml", "yolo11s-seg.yaml"])
    def test_other_families_and_scales(self, tmp_path: Path, name: str) -> None:
        made = export_bundle(name, tmp_path / "other.bundle", imgsz=(96, 96))
        assert made.parity.passed
        assert made.manifest.head.reg_max == (1 if "26" in name else 16)

    @pytest.mark.parametrize(
        ("text", "size"), [("640", (640, 640)), ("480x640", (480, 640)), ("32X64", (32, 64)), (None, None)]
    )
    def test_imgsz(self, text: str | None, size: tuple[int, int] | None) -> None:
        assert input_size(text) == size

    @pytest.mark.parametrize("text", ["", "0", "-640", "640x", "1x2x3", "six", "640.5", "16", "9999"])
    def test_imgsz_that_is_none(self, text: str) -> None:
        with pytest.raises(BadOption, match="--imgsz.*sides from 32 to 8192"):
            input_size(text)
        with pytest.raises(BadOption, match="--to.*sides from 32 to 8192"):
            input_size(text, "--to")


class TestRefused:
    def test_a_size_that_does_not_fit_the_strides(self, tmp_path: Path) -> None:
        with pytest.raises(BadOption, match="multiples of 32, .* Take --imgsz 128x160"):
            export_bundle("yolo11n-seg.yaml", tmp_path / "x.bundle", imgsz=(100, 160))
        assert not list(tmp_path.iterdir())

    def test_an_unknown_head(self) -> None:
        model = load_model("yolo11n-seg.yaml")

        class Strange(nn.Module):
            pass

        model.model[-1] = Strange()
        with pytest.raises(ExportError, match="head of class Strange.*Segment"):
            find_head(model, (64, 64))

    def test_a_head_with_parts_missing(self) -> None:
        model = load_model("yolo11n-seg.yaml")
        model.model[-1].cv4 = None
        with pytest.raises(ExportError, match="cv4"):
            find_head(model, (64, 64))

    @pytest.mark.parametrize(
        "weights", ["yolo11n-pose.yaml", "yolo11n-obb.yaml", "yoloe-11n-seg.yaml", "nothing.pt", "model.onnx"]
    )
    def test_weights_of_another_kind(self, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["export", weights, "-o", str(tmp_path / "x.bundle")]) == 2
        printed = capsys.readouterr().err
        assert "error: " in printed and "Traceback" not in printed
        assert not list(tmp_path.iterdir())

    def test_broken_weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: Any, **__: Any) -> nn.Module:
            model = load_model("yolo11n-seg.yaml")
            with torch.no_grad():
                model.model[-1].cv3[0][-1].bias[0] = float("nan")
            return model

        monkeypatch.setattr(subject, "load_model", broken)
        with pytest.raises(CheckFailed, match="NaN"):
            export_bundle("yolo11n-seg.yaml", tmp_path / "x.bundle", imgsz=(64, 64))
        assert not list(tmp_path.iterdir())


class TestPictures:
    def test_drawings_are_the_same_each_time_and_of_the_task(self) -> None:
        one, two = drawn_pictures(("Defect",)), drawn_pictures(("Defect",))
        assert len(one) >= 8 and all(p.name.startswith("bearing") for p in one)
        assert all(np.array_equal(a.frame, b.frame) for a, b in zip(one, two, strict=True))
        assert tasks_of(("capp",)) == ("tube",) and set(tasks_of(("car",))) == {"bearing", "tube"}

    def test_a_folder_of_pictures(self, tmp_path: Path) -> None:
        for i in range(9):
            cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20 + i, 30, 3), 10 * i, np.uint8))
        (tmp_path / "notes.txt").write_text("no picture")
        pictures = read_pictures(tmp_path, 8)
        assert [p.name for p in pictures] == [f"{i}.png" for i in range(9)]
        assert pictures[3].frame.shape == (23, 30, 3) and pictures[3].frame[0, 0, 0] == 30

    def test_too_few_and_unreadable(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="not a folder"):
            read_pictures(tmp_path / "none", 8)
        (tmp_path / "a.png").write_bytes(b"not a picture")
        with pytest.raises(SourceError, match="holds 1 pictures"):
            read_pictures(tmp_path, 8)
        with pytest.raises(SourceError, match=r"a\.png is not a picture"):
            read_pictures(tmp_path, 1)

    def test_the_gate_looks_at_the_users_pictures(self, tmp_path: Path) -> None:
        folder = tmp_path / "mine"
        folder.mkdir()
        for i, picture in enumerate(drawn_pictures((), [(64, 96)] * 8, seed=5)):
            cv2.imwrite(str(folder / f"mine{i}.png"), picture.frame)
        made = export_bundle("yolo11n-seg.yaml", tmp_path / "x.bundle", imgsz=(64, 64), images=folder)
        assert [p.picture for p in made.parity.pictures] == [f"mine{i}.png" for i in range(8)]
        assert made.parity.pictures_from == "mine"


class TestAllOrNothing:
    def write(self, folder: Path) -> None:
        (folder / "manifest.json").write_text("{}")

    def test_the_name_appears_at_the_end(self, tmp_path: Path) -> None:
        target = tmp_path / "new.bundle"
        with staged(target) as folder:
            assert folder.parent == tmp_path and not target.exists()
            self.write(folder)
        assert [path.name for path in tmp_path.iterdir()] == ["new.bundle"]
        assert target.stat().st_mode & 0o777 == 0o755

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, ExportError])
    def test_nothing_is_left_of_a_failure(self, tmp_path: Path, error: type[BaseException]) -> None:
        with pytest.raises(error), staged(tmp_path / "new.bundle") as folder:
            self.write(folder)
            raise error("stop")
        assert not list(tmp_path.iterdir())

    def test_a_bundle_is_replaced_only_by_force_and_only_when_the_new_one_is_whole(self, tmp_path: Path) -> None:
        target = tmp_path / "old.bundle"
        target.mkdir()
        (target / "manifest.json").write_text("old")
        with pytest.raises(SinkError, match="--force"), staged(target):
            pass
        with pytest.raises(ValueError, match="stop"), staged(target, force=True) as folder:
            self.write(folder)
            raise ValueError("stop")
        assert (target / "manifest.json").read_text() == "old"
        with staged(target, force=True) as folder:
            self.write(folder)
        assert (target / "manifest.json").read_text() == "{}"
        assert [path.name for path in tmp_path.iterdir()] == ["old.bundle"]

    def test_force_does_not_replace_what_is_no_bundle(self, tmp_path: Path) -> None:
        target = tmp_path / "photos"
        target.mkdir()
        (target / "child.jpg").write_text("dear")
        with pytest.raises(SinkError, match="not a bundle"), staged(target, force=True):
            pass
        assert (target / "child.jpg").exists()

    def test_no_folder_and_a_full_disk(self, tmp_path: Path) -> None:
        with pytest.raises(SinkError, match="no folder"), staged(tmp_path / "a" / "b.bundle"):
            pass
        with pytest.raises(SinkError, match="No space left"), staged(tmp_path / "b.bundle"):
            raise OSError(28, os.strerror(28))
        assert not list(tmp_path.iterdir())

    def test_an_existing_name_is_refused_before_any_work(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def never(*_: Any, **__: Any) -> nn.Module:
            raise AssertionError("loaded the weights")

        monkeypatch.setattr(subject, "load_model", never)
        assert cli.main(["export", "yolo11n-seg.yaml", "-o", str(tmp_path)]) == 2
        assert "exists already" in capsys.readouterr().err

    @pytest.mark.slow
    @pytest.mark.parametrize("stage", ["write_goldens", "verify_bundle", "run_gate"])
    def test_a_failure_at_any_stage_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise ExportError("the disk is on fire: leave the building")

        monkeypatch.setattr(proving, stage, fail)
        short_gate(monkeypatch, stage)
        with pytest.raises(LinesideError, match="leave the building"):
            export_bundle("yolo11n-seg.yaml", tmp_path / "x.bundle", imgsz=(64, 64))
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_safetensors_copy_keeps_every_number_of_its_training(tmp_path: Path) -> None:
    """Only untrained models have their BatchNorm measured anew."""
    model = load_model("yolo11n-seg.yaml", seed=3)
    settle(model, drawn_pictures(("capp",), [(128, 128)] * 8, seed=500))  # statistics that no export would come to
    model.names = {index: f"part {index}" for index in range(80)}
    (tmp_path / "best.pt").write_bytes(b"what the copy was made from")
    write_safetensors(model, tmp_path / "best.pt", tmp_path / "best.safetensors", imgsz=96)
    copy = load_model(tmp_path / "best.safetensors")
    made = export_bundle(tmp_path / "best.safetensors", tmp_path / "copy.bundle")
    assert made.manifest.input.size == (96, 96), "as trained"
    assert made.manifest.provenance.weights == "best.safetensors"
    assert len(made.manifest.provenance.weights_sha256) == 64
    assert made.manifest.provenance.licence.startswith("AGPL-3.0")
    frame = drawn_pictures((), [(96, 96)])[0].frame
    shipped = Shipped(open_bundle(made.path))
    seen = TorchReference(copy, (96, 96))(frame)
    for output, (name, want) in zip(shipped.look([frame])[0].outputs, seen.raw.items(), strict=True):
        assert np.allclose(output, want, atol=1e-3 * np.abs(want).max()), name
    shipped.close()


def short_gate(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Small pictures, where the gate is not what is tested."""
    small: Callable[..., Any] = lambda names: drawn_pictures(names, [(64, 64)] * 8)  # noqa: E731
    monkeypatch.setattr(gate_pictures, "golden_drawings", small)
    monkeypatch.setattr(gate_pictures, "photographs", dict)
    if stage != "run_gate":
        monkeypatch.setattr(gate_pictures, "drawn_pictures", small)


def test_a_failed_gate_says_so_at_the_python_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lineside.export.parity.budget import Budget

    short_gate(monkeypatch, "")
    with pytest.raises(ParityFailed, match="only 8 pictures were compared") as caught:
        export_bundle("yolo11n-seg.yaml", tmp_path / "x.bundle", imgsz=(64, 64), budget=Budget(pictures=9))
    assert caught.value.exit_code == 1 and caught.value.kept.is_file()
    assert not (tmp_path / "x.bundle").exists()


def test_rounding_is_to_the_nearest_and_only_where_it_fits() -> None:
    layer = nn.Sequential(nn.Linear(32, 32))
    with torch.no_grad():
        layer[0].weight[0, 0] = 1 + 1e-4
    rounded = rounded_to_fp16(layer)[0]
    assert rounded.weight[0, 0] == 1.0 and torch.equal(rounded.bias, layer[0].bias)
    assert torch.equal(rounded.weight, layer[0].weight.half().float())
    assert layer[0].weight[0, 0] != 1.0, "the model itself is left alone"
    with torch.no_grad():
        layer[0].weight[1, 1] = 1e6
    assert torch.equal(rounded_to_fp16(layer)[0].weight, layer[0].weight), "beyond FP16 nothing is rounded"


def test_fusing_leaves_the_model_alone() -> None:
    model = load_model("yolo11n-seg.yaml")
    before = sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    assert before > 50 and not any(isinstance(layer, nn.BatchNorm2d) for layer in fused(model).modules())
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules()) == before
