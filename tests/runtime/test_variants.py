from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import lineside
from helpers.tiny_bundle import tiny_bundle
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.engines import open_engines
from lineside.runtime.engines.base import EngineOptions
from lineside.runtime.errors import BadOption, BundleDamaged
from lineside.runtime.manifest import Manifest, Variant
from lineside.runtime.variants import check_precision, named_variant

VARIANTS = {
    "fp16": Variant(file="variants/fp16.onnx", precision="fp16", engines=("tensorrt",)),
    "int8-trt": Variant(file="variants/int8-trt.onnx", precision="int8", engines=("tensorrt",)),
    "int8-cpu": Variant(file="variants/int8-cpu.onnx", precision="int8", engines=("onnxruntime",)),
}

BIAS = {"fp16": 1.0, "int8-trt": 2.0, "int8-cpu": 3.0}
"""What each variant adds to the class scores of the portable model, which tells them apart."""


def with_variants(folder: Path, *names: str) -> Path:
    """A bundle with variants whose class scores are higher."""
    bundle = tiny_bundle(folder)
    plain = onnx.load(bundle / "model.onnx")
    (bundle / "variants").mkdir()
    for name in names:
        model = onnx.ModelProto()
        model.CopyFrom(plain)
        maker = {output: node for node in model.graph.node for output in node.output}
        biases = {maker[value.name].input[2] for value in model.graph.output if value.name.startswith("cls")}
        for tensor in model.graph.initializer:
            if tensor.name in biases:
                values = numpy_helper.to_array(tensor) + np.float32(BIAS[name])
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        onnx.save(model, bundle / VARIANTS[name].file)
    manifest = open_manifest(bundle)
    write_manifest(bundle, msgspec.structs.replace(manifest, variants={name: VARIANTS[name] for name in names}))
    return bundle


def open_manifest(bundle: Path) -> Manifest:
    return msgspec.json.decode((bundle / "manifest.json").read_bytes(), type=Manifest)


def shift(bundle: Path, options: EngineOptions, engine: str = "onnxruntime") -> tuple[float, str]:
    """How much higher the class scores are than the portable model's, and why that model ran."""
    opened = open_bundle(bundle)
    at = opened.manifest.head.output_names.index("cls8")
    found = []
    for choice in (EngineOptions(), options):
        lane = open_engines(engine if choice is options else "onnxruntime", opened, choice)[0]
        found.append(float(lane.infer(lane.buffers())[at].mean()))
        reason = lane.reason
        lane.close()
    return round(found[1] - found[0], 3), reason


class TestWhatRuns:
    def test_the_portable_model_unless_asked(self, tmp_path: Path) -> None:
        bundle = with_variants(tmp_path / "b", "fp16", "int8-trt", "int8-cpu")
        assert shift(bundle, EngineOptions()) == (0.0, "")
        assert shift(bundle, EngineOptions(precision="fp32")) == (0.0, "")
        assert shift(bundle, EngineOptions(precision="int8-cpu")) == (3.0, "")

    def test_onnxruntime_steps_in_with_its_own_variant_and_says_so(self, tmp_path: Path) -> None:
        bundle = with_variants(tmp_path / "b", "fp16", "int8-trt", "int8-cpu")
        moved, reason = shift(bundle, EngineOptions(precision="int8-trt"))
        assert moved == 3.0 and "int8-trt is meant for tensorrt, so onnxruntime runs int8-cpu" in reason
        moved, reason = shift(bundle, EngineOptions(precision="fp16"))
        assert moved == 0.0 and "onnxruntime runs fp32" in reason
        alone = with_variants(tmp_path / "c", "int8-trt")
        assert shift(alone, EngineOptions(precision="int8-trt")) == (
            0.0,
            "int8-trt is meant for tensorrt, so onnxruntime runs fp32",
        )

    def test_auto_goes_where_the_precision_is_meant_to_run(self, tmp_path: Path) -> None:
        bundle = with_variants(tmp_path / "b", "int8-trt", "int8-cpu")
        assert shift(bundle, EngineOptions(precision="int8-cpu"), "auto") == (3.0, "")
        moved, reason = shift(bundle, EngineOptions(precision="int8-trt"), "auto")
        assert moved == 3.0 and "so onnxruntime runs int8-cpu" in reason


class TestTheDoor:
    def test_loading_a_variant(self, tmp_path: Path) -> None:
        bundle = with_variants(tmp_path / "b", "int8-trt", "int8-cpu")
        frame = np.full((64, 64, 3), 200, np.uint8)
        scores = []
        for precision in (None, "int8-cpu"):
            with lineside.load(bundle, precision=precision) as model:
                scores.append(float(model(frame, conf=0.01).scores.max()))
        assert scores[1] > scores[0]

    def test_what_an_engine_does_not_run_is_refused(self, tmp_path: Path) -> None:
        bundle = with_variants(tmp_path / "b", "int8-trt", "int8-cpu")
        with pytest.raises(BadOption, match="int8-trt' of this bundle is meant for tensorrt, and engine='onnxruntime'"):
            lineside.load(bundle, "onnxruntime", precision="int8-trt")
        with pytest.raises(BadOption, match="it has fp32, int8-cpu, int8-trt"):
            lineside.load(bundle, precision="fp16")
        manifest = open_bundle(bundle).manifest
        check_precision(manifest, "auto", "int8-trt")
        check_precision(manifest, "tensorrt", "int8-trt")
        assert named_variant(manifest, "tensorrt", "int8-cpu") == (
            "int8-trt",
            "int8-cpu is meant for onnxruntime, so tensorrt runs int8-trt",
        )

    def test_a_variant_that_is_damaged_or_gone(self, tmp_path: Path) -> None:
        bundle = with_variants(tmp_path / "b", "int8-cpu")
        path = bundle / "variants" / "int8-cpu.onnx"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(BundleDamaged, match=r"variants/int8-cpu\.onnx"):
            lineside.load(bundle)
