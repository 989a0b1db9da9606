from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import lineside
from helpers.tiny_bundle import tiny_model
from lineside import cli
from lineside.export.foreign import recognise
from lineside.export.importing import import_onnx
from lineside.export.literals import literal
from lineside.export.parity.budget import FP32, Budget
from lineside.export.parity.gate import run_gate
from lineside.export.parity.reference import TorchReference
from lineside.export.parity.result import ParityReport
from lineside.export.parity.shipped import Shipped
from lineside.export.pictures import drawn_pictures, read_pictures
from lineside.export.settle import settle
from lineside.export.ultra import prepare
from lineside.runtime.bundle import open_bundle
from lineside.runtime.contract import HeadContract, HeadKind
from lineside.runtime.errors import CheckFailed, ExportError
from lineside.runtime.verify import verify_bundle


def tiny(kind: HeadKind, **metadata: str) -> onnx.ModelProto:
    """A model of that form, with what an exporter says about it."""
    model = tiny_model(HeadContract(kind=kind, classes=2, coefficients=8, input_size=(64, 64)))
    helper.set_model_props(model, {"task": "segment", "names": "{0: 'a', 1: 'b'}"} | metadata)
    return model


def exported(name: str, folder: Path, **options: Any) -> tuple[Path, Any]:
    """What `yolo export format=onnx` writes, for a model with random weights; and that model."""
    prepare()
    from ultralytics import YOLO

    torch.manual_seed(1)
    yolo = YOLO(name)
    settle(yolo.model.eval(), drawn_pictures((), [(120, 160), (160, 120), (160, 160), (101, 150)]))
    model = copy.deepcopy(yolo.model)
    written = yolo.export(format="onnx", imgsz=96, **options)
    return Path(shutil.move(written, folder / "foreign.onnx")), model


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The form that ultralytics writes by default, and the torch model that it was made of."""
    return exported("yolo11n-seg.yaml", tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="module")
def foreign(usual: tuple[Path, Any]) -> Path:
    """The file alone."""
    return usual[0]


class TestRecognise:
    @pytest.mark.parametrize("kind", ["flat", "end2end"])
    def test_by_shape(self, kind: HeadKind) -> None:
        found = recognise(tiny(kind))
        assert found.head.kind == kind and found.head.classes == 2 and found.head.coefficients == 8
        assert found.names == ("a", "b") and found.input.size == (64, 64) and found.input.name == "images"

    def test_without_metadata(self) -> None:
        model = tiny("flat")
        del model.metadata_props[:]
        assert recognise(model).names == ("0", "1")
        model = tiny("end2end")
        del model.metadata_props[:]
        with pytest.raises(ExportError, match="without class names"):
            recognise(model)

    def test_detection_only(self) -> None:
        model = tiny_model(HeadContract(kind="flat", classes=2, coefficients=0, input_size=(64, 64)))
        with pytest.raises(ExportError, match="detection, pose or oriented"):
            recognise(model)
        helper.set_model_props(model, {"names": "['a', 'b']"})
        assert recognise(model).head.coefficients == 0
        helper.set_model_props(model, {"names": "['a', 'b', 'c']"})
        with pytest.raises(ExportError, match="room for 2 classes and 3 are named"):
            recognise(model)

    def test_metadata_is_read_as_literals_and_never_run(self) -> None:
        assert literal("{0: 'a'}") == {0: "a"} and literal(None) is None
        assert literal("__import__('os').system('true')") is None and literal("{0: ") is None
        assert recognise(tiny("flat", names="__import__('os')")).names == ("0", "1")

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda m: m.graph.input[0].type.tensor_type.shape.dim[0].__setattr__("dim_param", "batch"), "not fixed"),
            (lambda m: m.graph.input[0].type.tensor_type.shape.dim[1].__setattr__("dim_value", 4), "4 channels"),
            (lambda m: m.graph.input[0].type.tensor_type.__setattr__("elem_type", 10), "float16"),
            (lambda m: helper.set_model_props(m, {"task": "pose"}), "'pose'"),
            (lambda m: m.graph.output[0].type.tensor_type.shape.dim[2].__setattr__("dim_value", 86), "does not know"),
            (lambda m: m.graph.output[1].type.tensor_type.shape.dim[3].__setattr__("dim_value", 15), "prototypes"),
            (
                lambda m: m.graph.output.extend([helper.make_tensor_value_info("more", 1, (1, 2, 3))]),
                "no YOLO segmentation",
            ),
            (lambda m: m.graph.input.extend([m.graph.output[0]]), "inputs are"),
        ],
    )
    def test_refused_in_a_sentence(self, change: Any, says: str) -> None:
        model = tiny("flat")
        change(model)
        with pytest.raises(ExportError, match=says):
            recognise(model)

    def test_another_input_size(self) -> None:
        model = tiny("flat")
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 60
        with pytest.raises(ExportError, match="fits no YOLO head|prototypes"):
            recognise(model)


class TestFiles:
    @pytest.mark.parametrize("content", [b"", b"\x08", b"MZ not a model", b"\x00" * 100])
    def test_not_onnx(self, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "m.onnx").write_bytes(content)
        assert cli.main(["import", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "x.bundle")]) == 2
        printed = capsys.readouterr().err
        assert "error: " in printed and "Traceback" not in printed
        assert not (tmp_path / "x.bundle").exists()

    def test_truncated(self, tmp_path: Path) -> None:
        data = tiny("flat").SerializeToString()
        (tmp_path / "m.onnx").write_bytes(data[: len(data) // 2])
        with pytest.raises(ExportError, match="not a whole ONNX model"):
            import_onnx(tmp_path / "m.onnx", tmp_path / "x.bundle")
        with pytest.raises(ExportError, match="no file"):
            import_onnx(tmp_path / "none.onnx", tmp_path / "x.bundle")

    def test_a_newer_opset_names_the_onnxruntime_it_needs(self, tmp_path: Path) -> None:
        model = tiny("flat")
        model.opset_import[0].version = 30
        onnx.save(model, tmp_path / "m.onnx")
        with pytest.raises(ExportError, match="opset 30"):
            import_onnx(tmp_path / "m.onnx", tmp_path / "x.bundle")


HALF = msgspec.structs.replace(FP32, cosine=0.999, box_px=0.5, tie=0.05, tie_score=1e-3, mask_iou=0.97)
"""For a whole graph in float16 arithmetic beside torch in float32."""


def beside_torch(model: Any, bundle: Path, pictures: Path, end2end: bool, budget: Budget = FP32) -> ParityReport:
    """What the gate of `lineside export` says of an imported bundle and the torch model behind its file."""
    opened = open_bundle(bundle)
    shipped = Shipped(opened)
    head = opened.manifest.head
    try:
        return run_gate(
            shipped, TorchReference(model, head.input_size, end2end), head, read_pictures(pictures, FP32.pictures), budget,
            described="torch", pictures_from="drawings",
        )  # fmt: skip
    finally:
        shipped.close()


class TestUltralytics:
    def test_the_default_form(self, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        target = tmp_path / "foreign.bundle"
        assert cli.main(["import", str(foreign), "-o", str(target), "--json"]) == 0
        printed = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
        assert printed["head"] == "levels" and printed["parity"]["passed"] is True
        assert printed["import"]["form"] == "flat" and printed["import"]["tail"]["cut"] is True
        assert printed["import"]["tail"]["figures"]["box_px"] < 1e-3
        assert "no torch reference" in printed["parity"]["reference"]
        bundle = open_bundle(target)
        assert bundle.manifest.provenance.licence.startswith("AGPL-3.0")
        assert bundle.manifest.head.classes == 80 and bundle.manifest.provenance.weights == "foreign.onnx"
        assert json.loads(bundle.read("reports/import.json")) == printed["import"]
        graph = onnx.load(target / "model.onnx").graph
        assert [value.name for value in graph.output] == list(bundle.manifest.head.output_names)
        assert "ConvTranspose" not in {node.op_type for node in graph.node}
        assert [clause for clause in printed["import"]["adapted"] if clause.startswith("fold the")]
        assert verify_bundle(bundle).passed
        with lineside.load(str(target)) as loaded:
            frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
            assert len(loaded(frame, conf=1e-6)) > 0

    def test_the_tail_stays_on_request(
        self, foreign: Path, small_pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "foreign.bundle"
        words = ["--keep-tail", "--images", str(small_pictures)]
        assert cli.main(["import", str(foreign), "-o", str(target), *words]) == 0
        assert "the graph runs as it is" in capsys.readouterr().out
        bundle = open_bundle(target)
        assert bundle.manifest.head.kind == "flat" and verify_bundle(bundle).passed
        assert len(onnx.load(target / "model.onnx").graph.node) == len(onnx.load(foreign).graph.node)

    def test_the_bundle_sees_what_torch_sees(
        self, usual: tuple[Path, Any], small_pictures: Path, tmp_path: Path
    ) -> None:
        """The gate of an import has only the graph itself; here the torch model behind it is at hand."""
        path, model = usual[0], copy.deepcopy(usual[1])
        made = import_onnx(path, tmp_path / "x.bundle", images=small_pictures)
        assert made.record.tail.cut
        report = beside_torch(model, made.path, small_pictures, end2end=False)
        assert report.passed, report.verdicts
        with torch.no_grad():
            model.model[-1].cv2[0][-1].bias[0] += 1  # the left sides of small objects
        assert not beside_torch(model, made.path, small_pictures, end2end=False).passed

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "options", "form", "kind"),
        [
            ("yolo26n-seg.yaml", {"nms": False}, "end2end", "end2end"),
            ("yolo26n-seg.yaml", {}, "flat", "levels"),
            ("yolo11n-seg.yaml", {"nms": True, "conf": 1e-5}, "end2end", "end2end"),
            ("yolo11n-seg.yaml", {"quantize": 16}, "flat", "levels"),
            ("yolo11n-seg.yaml", {"dynamic": True, "batch": 2}, "flat", "levels"),
            ("yolov8n.yaml", {"simplify": False, "opset": 12}, "flat", "levels"),
        ],
    )
    def test_other_forms(
        self, name: str, options: dict[str, Any], form: str, kind: str, tmp_path: Path, small_pictures: Path
    ) -> None:
        written, model = exported(name, tmp_path, **options)
        made = import_onnx(written, tmp_path / "x.bundle", images=small_pictures)
        assert made.parity.passed and made.verified.passed
        assert made.record.form == form and made.manifest.head.kind == kind, made.record.tail
        assert made.manifest.task == ("segment" if "seg" in name else "detect")
        assert made.record.tail.cut == (kind == "levels") and bool(made.record.tail.reason) != made.record.tail.cut
        assert made.manifest.head.reg_max == (1 if "26" in name and kind == "levels" else 16)
        assert made.manifest.input.size == (96, 96) and made.manifest.input.batch == 1
        if form == "end2end" and options["nms"]:
            return  # suppressed in the graph: torch alone has no such rows
        budget = HALF if "quantize" in options else FP32
        report = beside_torch(model, made.path, small_pictures, kind == "end2end", budget)
        levels = [verdict for verdict in report.verdicts if kind == "levels" or verdict.level != "raw"]
        assert all(verdict.passed for verdict in levels), levels  # the last rows may take each other's place


def test_a_runtime_that_decodes_something_else_is_caught(
    foreign: Path, small_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference decodes on its own, so a fault of the runtime's decoder cannot hide."""
    from lineside.runtime.postprocess import Postprocessor

    decode = Postprocessor.run

    def wrong(self: Postprocessor, outputs: Any, *rest: Any, **options: Any) -> Any:
        rows = outputs[0].copy()
        rows[:, 0] += 1  # centres one pixel to the right
        return decode(self, [rows, *outputs[1:]], *rest, **options)

    monkeypatch.setattr(Postprocessor, "run", wrong)
    with pytest.raises(CheckFailed, match="level 'anchors'"):
        import_onnx(foreign, tmp_path / "x.bundle", keep_tail=True, images=small_pictures)
    assert not (tmp_path / "x.bundle").exists()
