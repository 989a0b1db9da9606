"""An export with variants, end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import lineside
from lineside import cli
from lineside.export.bundle import export_bundle
from lineside.export.precision import add
from lineside.export.precision.choice import BUDGETS, PrecisionChoice, read_precisions
from lineside.export.prove import ParityFailed
from lineside.export.synth import pictures
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.errors import BadOption
from lineside.runtime.verify import verify_bundle

NAMES = ("fp16", "int8-trt", "int8-cpu")

SIDES = (160, 160)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures to calibrate and to compare on."""
    folder: Path = tmp_path_factory.mktemp("pictures")
    for index, frame in enumerate(pictures("bearing", 8, 160, seed=11)):
        cv2.imwrite(str(folder / f"{index}.png"), frame)
    return folder


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with all variants."""
    out = tmp_path_factory.mktemp("out") / "small.bundle"
    words = ["export", "yolo11n-seg.yaml", "-o", str(out), "--imgsz", "160", "--images", str(folder), "--batch", "2"]
    assert cli.main([*words, "--precision", ",".join(NAMES), "--calibrate", str(folder), "--calibration", "7"]) == 0
    return out


@pytest.mark.slow
class TestABundleWithVariants:
    def test_manifest_hashes_and_report(self, exported: Path) -> None:
        manifest = open_bundle(exported).manifest
        assert tuple(manifest.variants) == NAMES
        assert {variant.file for variant in manifest.variants.values()} <= set(manifest.files)
        assert manifest.variants["int8-cpu"].engines == ("onnxruntime",)
        work = {name: variant.work or 0 for name, variant in manifest.variants.items()}
        assert work["fp16"] > 0.9 and 0.4 < work["int8-trt"] < 0.5
        for name in NAMES:
            sides = onnx.load(exported / manifest.variants[name].file).graph.input[0].type.tensor_type.shape.dim
            assert [side.dim_value for side in sides] == [2, 3, 160, 160]
        report = json.loads(open_bundle(exported).read("reports/precision.json"))
        assert [it["name"] for it in report["variants"]] == list(NAMES)
        for it in report["variants"]:
            assert it["bytes"] == (exported / it["file"]).stat().st_size and it["cosine"] > it["budget"]["cosine"]
            assert it["loss"] is None
            assert it["calibration"].startswith("7 pictures of 8") == it["name"].startswith("int8")
        assert "rounded to FP16 after every" in report["variants"][0]["computed"]

    def test_inspect_names_them(self, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["inspect", str(exported), "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert list(shown["manifest"]["variants"]) == list(NAMES)
        assert cli.main(["inspect", str(exported)]) == 0
        assert "int8-cpu (onnxruntime)" in " ".join(capsys.readouterr().out.split())

    def test_it_runs_and_verifies(self, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
        frame = pictures("bearing", 1, 160, seed=12)[0]
        with lineside.load(exported, precision="int8-cpu") as model:
            assert len(model(frame, conf=1e-6)) > 0 and model.engine_name == "onnxruntime"
        assert cli.main(["verify", str(exported), "--precision", "int8-cpu", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["passed"] is True
        assert cli.main(["verify", str(exported)]) == 0
        assert cli.main(["verify", str(exported), "--engine", "onnxruntime", "--precision", "fp16"]) == 2
        assert "meant for tensorrt" in capsys.readouterr().err

    def test_a_variant_of_other_weights_does_not_verify(self, exported: Path, tmp_path: Path) -> None:
        bundle = tmp_path / "broken.bundle"
        shutil.copytree(exported, bundle)
        path = bundle / "variants" / "int8-cpu.onnx"
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4:
                values = numpy_helper.to_array(tensor)
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[::-1]), tensor.name))
        onnx.save(model, path)
        write_manifest(bundle, open_manifest(bundle))
        report = verify_bundle(open_bundle(bundle), precision="int8-cpu")
        assert not report.passed


def open_manifest(bundle: Path) -> lineside.runtime.manifest.Manifest:
    from lineside.runtime.manifest import Manifest

    return msgspec.json.decode((bundle / "manifest.json").read_bytes(), type=Manifest)


@pytest.mark.slow
def test_a_variant_beyond_its_budget_leaves_no_bundle(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = {**BUDGETS, "fp16": msgspec.structs.replace(BUDGETS["fp16"], cosine=1 - 1e-9)}
    monkeypatch.setattr(add, "BUDGETS", tight)
    out = tmp_path / "never.bundle"
    with pytest.raises(ParityFailed, match=r"the fp16 variant does not see .*No bundle was written"):
        export_bundle("yolo11n-seg.yaml", out, imgsz=SIDES, images=folder, precision=PrecisionChoice(names=("fp16",)))
    assert not out.exists() and (tmp_path / "never.bundle.fp16.parity.json").is_file()


class TestWhatIsAskedFor:
    def test_words(self) -> None:
        assert read_precisions("fp16, int8-cpu") == ("fp16", "int8-cpu")
        for text in ("", "int4", "fp16,fp16"):
            with pytest.raises(BadOption, match="choose some of fp16,int8-trt,int8-cpu"):
                read_precisions(text)

    def test_int8_without_pictures(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["export", "none.pt", "-o", str(tmp_path / "x.bundle")]
        assert cli.main([*words, "--precision", "int8-cpu"]) == 2
        assert "--calibrate" in capsys.readouterr().err
        assert cli.main([*words, "--data", "data.yaml"]) == 2
        assert "--precision" in capsys.readouterr().err
