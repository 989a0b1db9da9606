"""Which of a bundle's models a build takes, for which sizes of input, and whether the engine computes so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers import trt_double
from helpers.trt_builds import build, dynamic_bundle, plans, with_fp16
from lineside.runtime.bundle import open_bundle
from lineside.runtime.engines.tensorrt.plans import list_plans
from lineside.runtime.errors import BadOption, CheckFailed, EngineUnavailable
from lineside.runtime.loading import load


def test_the_variant_of_the_precision_is_built(bundle: Path, double: trt_double.Settings) -> None:
    double.type = "Half"
    with pytest.raises(BadOption, match="no model in int8 for TensorRT .it has fp32.*--precision int8-trt"):
        build(bundle, precision="int8")
    assert build(bundle).precision == "fp32"
    with_fp16(bundle)
    double.seen.clear()
    report = build(bundle)
    assert "cleared" not in double.seen  # what stays float32 beside FP16 may be rounded as much
    assert (report.precision, report.variant, report.reason) == ("fp16", "fp16", "the bundle has a variant in fp16")
    assert build(bundle, precision="fp32").precision == "fp32"
    assert len(list_plans(open_bundle(bundle))[0]) == 2


def test_what_was_asked_for_last_is_what_runs(bundle: Path, double: trt_double.Settings) -> None:
    with_fp16(bundle)
    build(bundle, precision="fp32")
    build(bundle, precision="fp16", least=0.0)
    assert not build(bundle, precision="fp32").built
    with load(bundle, "tensorrt") as model:
        assert ", fp32, " in model.engine_reason
    assert not build(bundle, precision="fp16", least=0.0).built
    with load(bundle, "tensorrt") as model:
        assert ", fp16, " in model.engine_reason


def test_a_variant_for_other_engines_is_not(bundle: Path, double: trt_double.Settings) -> None:
    assert build(with_fp16(bundle, engines=("onnxruntime",))).precision == "fp32"


def test_an_engine_in_another_precision_is_not_kept(bundle: Path, double: trt_double.Settings) -> None:
    with_fp16(bundle)
    with pytest.raises(CheckFailed, match="does not compute in fp16"):
        build(bundle)
    assert plans(bundle) == []
    assert build(bundle, least=0.0).audit.share == 0


def test_a_dynamic_bundle_gets_one_profile(tmp_path: Path, double: trt_double.Settings) -> None:
    folder = dynamic_bundle(tmp_path / "dynamic.bundle")
    report = build(folder)
    assert report.audit.share is not None  # the inspector knew the sides
    assert double.seen["profiles"] == [{"images": ((1, 3, 64, 64), (4, 3, 64, 64), (4, 3, 64, 64))}]
    assert report.profile == "1x3x64x64 to 4x3x64x64, best 4x3x64x64"
    build(folder, smallest=(32, 32), largest=(96, 128))
    assert double.seen["profiles"] == [{"images": ((1, 3, 32, 32), (4, 3, 64, 64), (4, 3, 96, 128))}]
    for wrong in ({"smallest": (33, 32)}, {"largest": (32, 32)}):
        with pytest.raises(BadOption):
            build(folder, **wrong)
    with load(folder, "tensorrt", imgsz=96) as model:
        tensor = np.random.default_rng(0).random((3, 3, 96, 96), np.float32)
        with load(folder, "onnxruntime", imgsz=96) as other:
            for mine, theirs in zip(model.infer(tensor), other.infer(tensor), strict=True):
                np.testing.assert_allclose(mine, theirs, atol=1e-5)
    with pytest.raises(EngineUnavailable, match="input size: yours 4x3x160x160, the engine's 1x3x32x32 to"):
        load(folder, "tensorrt", imgsz=160)


def test_the_inspector_knows_the_sides_of_a_range_of_one_shape_too(tmp_path: Path, double: trt_double.Settings) -> None:
    report = build(dynamic_bundle(tmp_path / "dynamic.bundle", batch=1))
    assert (report.profile, report.audit.share is None) == ("1x3x64x64", False)


def test_limits_are_for_dynamic_bundles(bundle: Path, double: trt_double.Settings) -> None:
    with pytest.raises(BadOption, match="one input size"):
        build(bundle, smallest=(32, 32))
