"""Loading of what a build made: what fits, what does not and why, and what is done then."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from helpers import trt_double
from helpers.trt_builds import build, dynamic_bundle, manifest_of, with_fp16
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.engines import open_engines
from lineside.runtime.engines.base import EngineOptions
from lineside.runtime.engines.tensorrt.plans import list_plans
from lineside.runtime.errors import BadOption, EngineFailed, EngineUnavailable, PlanRefused
from lineside.runtime.loading import load
from lineside.runtime.verify import verify_bundle

ROOT = Path(__file__).resolve().parents[3]


def test_a_built_engine_runs_and_says_so(bundle: Path, double: trt_double.Settings) -> None:
    build(bundle)
    with load(bundle, "tensorrt") as model, load(bundle, "onnxruntime") as other:
        assert (model.engine_name, other.engine_name, other.engine_reason) == ("tensorrt", "onnxruntime", "")
        assert "fits this machine" in model.engine_reason and "TensorRT 10.3.0" in model.engine_reason
        tensor = np.random.default_rng(0).random(model.manifest.input.shape, np.float32)
        for mine, theirs in zip(model.infer(tensor), other.infer(tensor), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
        frame = np.full((80, 120, 3), 20, np.uint8)
        frame[20:50, 30:70] = (0, 0, 250)
        mine, theirs = model(frame, conf=0.3), other(frame, conf=0.3)
        assert len(mine) == len(theirs) > 0
        np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=0.01)


def test_nothing_built_is_refused_in_words(bundle: Path, double: trt_double.Settings) -> None:
    with pytest.raises(EngineUnavailable, match="no TensorRT engine was built for .*lineside build"):
        load(bundle, "tensorrt")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("version", "TensorRT: yours 10.13.3.9, the engine's 10.3.0"),
        ("sm", "compute capability: yours 89, the engine's 87"),
        ("model", "fp32 model: yours [0-9a-f]{12}…, the engine's [0-9a-f]{12}…"),
        ("platform", "platform: yours linux-.*, the engine's linux-riscv"),
        ("kernel", "kernel of Carafe_k5_up2: yours none, the engine's old"),
    ],
)
def test_each_field_that_differs_is_named(
    bundle: Path, double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch, change: str, says: str
) -> None:
    report = build(bundle)
    beside = Path(f"{report.engine}.json")
    if change == "version":
        monkeypatch.setattr(trt_double, "__version__", "10.13.3.9")
    elif change == "sm":
        double.sm = "89"
    elif change == "model":
        model = onnx.load(bundle / "model.onnx")
        model.doc_string = "another one"
        onnx.save(model, bundle / "model.onnx")
        write_manifest(bundle, manifest_of(bundle))
    else:
        facts = json.loads(beside.read_text())
        facts.update({"platform": "linux-riscv"} if change == "platform" else {})
        facts.update({"kernels": {"Carafe_k5_up2": "old"}, "standalone": False} if change == "kernel" else {})
        beside.write_text(json.dumps(facts))
    with pytest.raises(EngineUnavailable, match=f"does not fit this machine: {says}. Build it here"):
        load(bundle, "tensorrt")
    with pytest.warns(RuntimeWarning, match=f"on the processor, which is slower.*{says}"):
        with load(bundle, "tensorrt:fallback") as model:
            assert model.engine_name == "onnxruntime"
            assert "does not fit this machine" in model.engine_reason
    if change != "model":  # the bundle's hashes are right again only for the model
        with pytest.warns(RuntimeWarning, match="is built now, which takes minutes"):
            with load(bundle, "tensorrt:rebuild") as model:
                assert model.engine_name == "tensorrt" and "it was built now" in model.engine_reason
        with load(bundle, "tensorrt") as model:
            assert model.engine_name == "tensorrt"


def test_a_precision_that_is_named_is_the_one_that_runs(bundle: Path, double: trt_double.Settings) -> None:
    double.type = "Half"
    with_fp16(bundle)
    build(bundle, precision="fp32")
    with pytest.raises(EngineUnavailable, match="fp32 model: yours none"):
        open_engines("tensorrt", open_bundle(bundle), EngineOptions(precision="fp16"))
    build(bundle, precision="fp16")
    for name, other in (("fp32", "fp16"), ("fp16", "fp32")):
        (engine,) = open_engines("tensorrt", open_bundle(bundle), EngineOptions(precision=name))
        assert f"-{name}-" in engine.reason and f"-{other}-" not in engine.reason
        engine.close()


def test_a_damaged_plan_is_named_so(bundle: Path, double: trt_double.Settings) -> None:
    plan = Path(build(bundle).engine)
    data = bytearray(plan.read_bytes())
    data[len(data) // 2] ^= 1
    plan.write_bytes(data)
    with pytest.raises(EngineFailed, match="is damaged: it is not the file that was built"):
        load(bundle, "tensorrt")
    assert build(bundle).built  # what the message says helps
    load(bundle, "tensorrt").close()
    plan.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="is built now.*is damaged"):
        load(bundle, "tensorrt:rebuild").close()
    load(bundle, "tensorrt").close()
    plan.with_name(f"{plan.name}.json").write_text("{")
    with pytest.raises(EngineUnavailable, match="does not say what the engine beside it is"):
        load(bundle, "tensorrt")


def refused_plan(bundle: Path, **options: object) -> Path:
    """Builds an engine and puts another in its place, which fits by its sidecar and which TensorRT does not read."""
    plan = Path(build(bundle, **options).engine)
    beside = plan.with_name(f"{plan.name}.json")
    plan.write_bytes(b"\0" * 100)
    facts = json.loads(beside.read_text())
    facts["plan_sha256"] = "cd00e292c5970d3c5e2f0ffa5171e555bc46bfc4faddfb4a418b6840b86e79a3"
    beside.write_text(json.dumps(facts))
    return plan


def test_a_plan_that_tensorrt_refuses_gives_its_reason(bundle: Path, double: trt_double.Settings) -> None:
    refused_plan(bundle)
    with pytest.raises(PlanRefused, match="refuses the plan .Serialization assertion"):
        load(bundle, "tensorrt")


def test_a_plan_that_tensorrt_refuses_is_built_anew_in_its_precision(bundle: Path, double: trt_double.Settings) -> None:
    double.type = "Half"
    refused_plan(with_fp16(bundle), precision="fp16")
    build(bundle, precision="fp32")
    with pytest.warns(RuntimeWarning, match="is built now, which takes minutes: .*refuses the plan"):
        (engine,) = open_engines(
            "tensorrt", open_bundle(bundle), EngineOptions(precision="fp16", on_mismatch="rebuild")
        )
    assert "it was built now, because" in engine.reason and "-fp16-" in engine.reason
    engine.close()
    (engine,) = open_engines("tensorrt", open_bundle(bundle), EngineOptions(precision="fp16"))
    engine.close()


def test_what_is_in_the_way_of_any_plan_is_no_reason_to_build(bundle: Path, double: trt_double.Settings) -> None:
    build(bundle)
    double.plan_error = "CUDA runtime error: out of memory"
    with pytest.raises(EngineFailed, match="not enough GPU memory"):
        load(bundle, "tensorrt:rebuild")
    assert double.seen["builds"] == 1


def test_engines_for_several_sizes_stay_side_by_side(tmp_path: Path, double: trt_double.Settings) -> None:
    bundle = dynamic_bundle(tmp_path / "any.bundle")
    for side in (64, 96, 64):
        with contextlib.nullcontext() if side in built_for(bundle) else pytest.warns(RuntimeWarning, match="built now"):
            load(bundle, "tensorrt:rebuild", imgsz=side).close()
    assert double.seen["builds"] == 2 and built_for(bundle) == [64, 96]
    build(bundle, smallest=(64, 64), largest=(128, 128))
    assert built_for(bundle) == [64], "an engine for a range takes the place of those within it"


def built_for(bundle: Path) -> list[int]:
    """Least heights of the engines beside a bundle."""
    return sorted(stored.sidecar.profile.least[2] for stored in list_plans(open_bundle(bundle))[0])


def test_unknown_policies_are_refused(bundle: Path) -> None:
    with pytest.raises(BadOption, match="tensorrt:refuse, tensorrt:rebuild, tensorrt:fallback"):
        load(bundle, "tensorrt:perhaps")


def test_the_golden_files_are_replayed_on_it(double: trt_double.Settings, tmp_path: Path) -> None:
    folder = tmp_path / "bearing.bundle"
    shutil.copytree(ROOT / "demo" / "bearing.bundle", folder)
    build(folder)
    report = verify_bundle(open_bundle(folder), "tensorrt")
    assert (report.passed, report.engine) == (True, "tensorrt")


def test_lanes_share_the_plan_and_the_device_closes_with_the_last(bundle: Path, double: trt_double.Settings) -> None:
    build(bundle)
    engines = open_engines("tensorrt", open_bundle(bundle), EngineOptions(lanes=2))
    for engine in engines:
        engine.close()
        engine.close()
    with pytest.raises(EngineFailed, match="closed"):
        engines[0].infer({"images": np.zeros((1, 3, 64, 64), np.float32)})
    with pytest.raises(EngineFailed, match="device is closed"):
        double.device.stream()
