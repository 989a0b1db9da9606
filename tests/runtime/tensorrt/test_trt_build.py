"""The whole of `lineside build` and of loading what it made, with a double in TensorRT's place."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
import onnx
import pytest

from helpers import trt_double
from helpers.tiny_bundle import tiny_bundle
from lineside import cli
from lineside.runtime import cache
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.engines import auto, open_engines
from lineside.runtime.engines.base import EngineOptions
from lineside.runtime.engines.tensorrt import memory
from lineside.runtime.engines.tensorrt import plans as plans_module
from lineside.runtime.engines.tensorrt import plugin as plugin_module
from lineside.runtime.engines.tensorrt.building import BuildOptions, BuildReport, build_engine
from lineside.runtime.engines.tensorrt.plans import building, list_plans
from lineside.runtime.errors import BadOption, CheckFailed, EngineFailed, EngineUnavailable
from lineside.runtime.loading import load
from lineside.runtime.manifest import Variant
from lineside.runtime.verify import verify_bundle

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "tiny.bundle")


def quiet(share: float, note: str) -> None:
    pass


def build(path: Path, **options: object) -> BuildReport:
    return build_engine(open_bundle(path), BuildOptions(**options), quiet)  # type: ignore[arg-type]


def with_variant(path: Path, engines: tuple[str, ...] = ("tensorrt",)) -> Path:
    """The bundle with a variant in fp16, whose content does not matter to the double."""
    (path / "variants").mkdir()
    shutil.copy(path / "model.onnx", path / "variants/fp16.onnx")
    manifest = open_bundle_without_check(path)
    manifest = msgspec.structs.replace(
        manifest, variants={"fp16": Variant(file="variants/fp16.onnx", precision="fp16", engines=engines)}
    )
    write_manifest(path, manifest)
    return path


def open_bundle_without_check(path: Path):  # type: ignore[no-untyped-def]
    from lineside.runtime.manifest import decode_manifest

    return decode_manifest((path / "manifest.json").read_bytes(), str(path))


def plans(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "engines").iterdir())


# Building


def test_a_build_writes_a_plan_and_what_it_is(bundle: Path, double: trt_double.Settings) -> None:
    told: list[float] = []
    report = build_engine(open_bundle(bundle), BuildOptions(workspace=256), lambda share, note: told.append(share))
    assert told == sorted(told) and told[-1] == 1.0 and len(told) > 5
    plan = Path(report.engine)
    assert plan.parent == bundle / "engines"
    assert plans(bundle) == [plan.name, f"{plan.name}.json"]
    sidecar = json.loads((bundle / "engines" / f"{plan.name}.json").read_text())
    assert {key: sidecar[key] for key in ("tensorrt", "sm", "precision", "standalone", "workspace")} == {
        "tensorrt": "10.3.0",
        "sm": "87",
        "precision": "fp32",
        "standalone": True,
        "workspace": 256,
    }
    opened = open_bundle(bundle)  # engines/ belongs to no hash
    assert sidecar["onnx_sha256"] == opened.manifest.files["model.onnx"]
    assert double.seen["onnx"] == opened.read("model.onnx")
    assert double.seen["workspace"] == (trt_double.MemoryPoolType.WORKSPACE, 256 << 20)
    assert double.seen["flags"] == 0b11  # strongly typed, and the batch in the shape
    assert double.seen["profiles"] == []
    assert report.warnings == ("a warning of the double",)
    assert report.audit.convolutions > 0


def test_tensorrt_11_is_not_told_of_the_batch(
    bundle: Path, double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trt_double, "__version__", "11.4.1.7")
    monkeypatch.delattr(trt_double.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
    double.tensors = "I/O Tensors"
    assert build(bundle).tensorrt == "11.4.1.7"
    assert double.seen["flags"] == 0b10


def test_an_engine_that_is_there_is_kept(bundle: Path, double: trt_double.Settings) -> None:
    first = build(bundle)
    again = build(bundle)
    assert (first.built, again.built, again.engine) == (True, False, first.engine)
    assert double.seen["builds"] == 1
    assert build(bundle, fresh=True).built
    assert build(bundle, workspace=100).built
    assert len(plans(bundle)) == 2  # the newer ones took the place of those before


def test_timings_of_a_build_are_used_by_the_next(bundle: Path, double: trt_double.Settings) -> None:
    build(bundle)
    assert double.seen["timing"] == b""
    build(bundle, fresh=True)
    assert double.seen["timing"] == b"timed;"
    double.sm = "89"
    build(bundle, fresh=True)
    assert double.seen["timing"] == b""


def test_timings_of_another_gpu_are_let_go_of(bundle: Path, double: trt_double.Settings) -> None:
    build(bundle)
    ((name, _),) = [(p, p.read_bytes()) for p in cache.folder().rglob("timing-*.cache")]
    cache.keep(str(name.relative_to(cache.folder())), b"foreign")
    double.errors = ("Error Code 209: no kernel image",)
    with pytest.raises(EngineFailed, match="could not build the engine .Error Code 209"):
        build(bundle, fresh=True)
    double.errors = ()
    build(bundle, fresh=True)
    assert cache.fetch(str(name.relative_to(cache.folder()))) == b"timed;"


def test_a_board_with_one_memory_gets_half_of_it(
    bundle: Path, double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 8000000 kB\nMemAvailable: 4194304 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", meminfo)
    assert memory.workspace_for(False, None) is None
    assert memory.workspace_for(True, None) == 2048
    assert memory.workspace_for(True, 512) == 512
    build(bundle)
    assert "workspace" not in double.seen  # a card has its own
    double.integrated = True
    build(bundle, fresh=True)
    assert double.seen["workspace"][1] == 2048 << 20
    meminfo.write_text("MemAvailable: 1000 kB\n")
    assert memory.workspace_for(True, None) == 256


def test_the_variant_of_the_precision_is_built(bundle: Path, double: trt_double.Settings) -> None:
    double.type = "Half"
    with pytest.raises(BadOption, match="no model in int8 for TensorRT .it has fp32.*--precision int8-trt"):
        build(bundle, precision="int8")
    assert build(bundle).precision == "fp32"
    with_variant(bundle)
    report = build(bundle)
    assert (report.precision, report.variant, report.reason) == ("fp16", "fp16", "the bundle has a variant in fp16")
    assert build(bundle, precision="fp32").precision == "fp32"
    assert len(list_plans(open_bundle(bundle))[0]) == 2


def test_what_was_asked_for_last_is_what_runs(bundle: Path, double: trt_double.Settings) -> None:
    with_variant(bundle)
    build(bundle, precision="fp32")
    build(bundle, precision="fp16", least=0.0)
    assert not build(bundle, precision="fp32").built
    with load(bundle, "tensorrt") as model:
        assert ", fp32, " in model.engine_reason
    assert not build(bundle, precision="fp16", least=0.0).built
    with load(bundle, "tensorrt") as model:
        assert ", fp16, " in model.engine_reason


def test_a_variant_for_other_engines_is_not(bundle: Path, double: trt_double.Settings) -> None:
    assert build(with_variant(bundle, engines=("onnxruntime",))).precision == "fp32"


def test_an_engine_in_another_precision_is_not_kept(bundle: Path, double: trt_double.Settings) -> None:
    with_variant(bundle)
    with pytest.raises(CheckFailed, match="does not compute in fp16"):
        build(bundle)
    assert plans(bundle) == []
    assert build(bundle, least=0.0).audit.share == 0


def test_a_zip_and_a_folder_that_cannot_be_written_use_the_cache(
    bundle: Path, double: trt_double.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", bundle))
    report = build(packed)
    assert Path(report.engine).is_relative_to(tmp_path / "cache")
    with load(packed, "tensorrt") as model:
        assert model.engine_name == "tensorrt"
    real = plans_module.tempfile.TemporaryFile

    def refusing(dir: Path) -> IO[bytes]:  # noqa: A002  # root may write everywhere, so the refusal is played
        if dir.is_relative_to(bundle):
            raise PermissionError(13, "Permission denied")
        return real(dir=dir)  # type: ignore[return-value]

    monkeypatch.setattr(plans_module.tempfile, "TemporaryFile", refusing)
    assert Path(build(bundle, fresh=True).engine).is_relative_to(tmp_path / "cache")
    load(bundle, "tensorrt").close()


def test_engines_in_the_cache_outlive_smaller_things(
    tmp_path: Path, bundle: Path, double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "tiny"), "zip", bundle))
    build(archive)
    monkeypatch.setattr(cache, "MAX_BYTES", 1)
    cache.keep("kernels/one", b"1")
    cache.keep("kernels/two", b"2")
    assert cache.fetch("kernels/one") is None
    with load(archive, "tensorrt") as model:
        assert model.engine_name == "tensorrt"


def test_two_builds_at_once_are_refused(bundle: Path, double: trt_double.Settings) -> None:
    with building(open_bundle(bundle)):
        with pytest.raises(EngineFailed, match="another process builds"):
            build(bundle)
    assert build(bundle).built


@pytest.mark.parametrize(
    "error", ["[defaultAllocator.cpp::allocate] Error Code 1: Cuda Runtime (out of memory)", "OutOfMemory: 4096 MiB"]
)
def test_too_little_memory_is_told_with_what_helps(bundle: Path, double: trt_double.Settings, error: str) -> None:
    double.errors = (error, "Error Code 10: Could not find any implementation for node")
    with pytest.raises(EngineFailed, match="not enough memory for the build.*--workspace.*--imgsz.*swap"):
        build(bundle)
    assert plans(bundle) == []


def test_a_refusal_has_tensorrts_reason(bundle: Path, double: trt_double.Settings) -> None:
    double.errors = ("Error Code 10: Could not find any implementation for node /model.22",)
    with pytest.raises(EngineFailed, match="could not build the engine .Error Code 10.*model.22"):
        build(bundle)
    double.parse_error = "In node 7 with name: and operator: GridSample: 5-D input"
    with pytest.raises(EngineFailed, match="cannot read the model .In node 7.*lineside doctor BUNDLE --target trt10.3"):
        build(bundle)


def test_a_runtime_of_nothing_is_not_touched(bundle: Path, double: trt_double.Settings) -> None:
    double.runtime_error = "createInferRuntime: Error Code 6: API Usage Error (CUDA driver version is insufficient)"
    with pytest.raises(EngineUnavailable, match="cannot start its runtime .*driver version is insufficient"):
        build(bundle)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, RuntimeError])
def test_what_ends_a_build_comes_out_and_leaves_nothing(
    bundle: Path, double: trt_double.Settings, ending: type[BaseException]
) -> None:
    def tell(share: float, note: str) -> None:
        if share >= 0.4:
            raise ending("enough")

    with pytest.raises(ending, match="enough"):
        build_engine(open_bundle(bundle), BuildOptions(), tell)
    assert plans(bundle) == []


def test_ctrl_c_in_a_plugin_is_no_failure_of_it(bundle: Path, double: trt_double.Settings) -> None:
    def interrupted() -> None:
        plugin_module._running.failure = KeyboardInterrupt()

    double.meanwhile, double.errors = interrupted, ("a plugin gave nothing",)
    with pytest.raises(KeyboardInterrupt):
        build(bundle)
    assert plans(bundle) == []


def dynamic_bundle(path: Path, batch: int = 4) -> Path:
    folder = tiny_bundle(path, batch=batch)
    model = onnx.load(folder / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        sides = value.type.tensor_type.shape.dim
        for axis in (0, 2, 3):
            sides[axis].dim_param = f"free{axis}"
    onnx.save(model, folder / "model.onnx")
    manifest = open_bundle_without_check(folder)
    manifest = msgspec.structs.replace(manifest, input=msgspec.structs.replace(manifest.input, dynamic=True))
    write_manifest(folder, manifest)
    return folder


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


# Loading


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
        write_manifest(bundle, open_bundle_without_check(bundle))
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
    with_variant(bundle)
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


def test_a_plan_that_tensorrt_refuses_gives_its_reason(bundle: Path, double: trt_double.Settings) -> None:
    plan = Path(build(bundle).engine)
    beside = plan.with_name(f"{plan.name}.json")
    plan.write_bytes(b"\0" * 100)
    facts = json.loads(beside.read_text())
    facts["plan_sha256"] = "cd00e292c5970d3c5e2f0ffa5171e555bc46bfc4faddfb4a418b6840b86e79a3"
    beside.write_text(json.dumps(facts))
    with pytest.raises(EngineFailed, match="refuses the plan .Serialization assertion"):
        load(bundle, "tensorrt")


def test_auto_takes_the_engine_that_is_built(bundle: Path, double: trt_double.Settings) -> None:
    build(bundle)
    with load(bundle) as model:
        assert model.engine_name == "tensorrt"
        assert "fits this machine" in model.engine_reason


def test_auto_never_takes_the_slow_one_in_silence(
    bundle: Path, double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(auto, "GPU_NODES", (str(tmp_path / "nvidiactl"),))
    with pytest.warns(
        RuntimeWarning, match="slower: no TensorRT engine was built for this bundle; run `lineside build"
    ):
        with load(bundle) as model:
            assert model.engine_name == "onnxruntime"
    build(bundle)
    double.sm = "90"
    with pytest.warns(RuntimeWarning, match="compute capability: yours 90, the engine's 87"):
        with load(bundle) as model:
            assert model.engine_name == "onnxruntime" and "yours 90" in model.engine_reason
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(auto.importlib.util, "find_spec", lambda name: None)
    with pytest.warns(RuntimeWarning, match="TensorRT's Python module is not installed"):
        load(bundle).close()


def test_auto_without_a_gpu_is_quiet_and_says_why(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(auto, "GPU_NODES", ())
    with load(bundle) as model:
        assert model.engine_name == "onnxruntime"
        assert "there is no GPU" in model.engine_reason
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


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


# The command


def test_the_command_prints_what_it_built(
    bundle: Path, double: trt_double.Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", str(bundle)]) == 0
    printed = capsys.readouterr()
    assert "built in" in printed.out and "TensorRT 10.3.0 on a double of an Orin" in printed.out
    assert "build: 100% written" in printed.err
    assert cli.main(["build", str(bundle), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["built"], facts["precision"], facts["audit"]["convolutions"] > 0) == (False, "fp32", True)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--least", "2"], 2, "give a share from 0 to 1"),
        (["--workspace", "0"], 2, "give MiB, from 1"),
        (["--workspace", "99999999999999999999"], 2, "give MiB, from 1"),
        (["--from", "12y"], 2, "give one number, such as 640"),
        (["--precision", "fp8"], 2, "fp8"),
        (["--imgsz", "96"], 2, "cannot be changed"),
    ],
)
def test_wrong_words_are_refused(
    bundle: Path,
    double: trt_double.Settings,
    words: list[str],
    code: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["build", str(bundle), *words]) == code
    assert says in capsys.readouterr().err


def test_exit_code_1_for_another_precision(
    bundle: Path, double: trt_double.Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", str(with_variant(bundle)), "--precision", "fp16"]) == 1
    assert "does not compute in fp16 as asked" in capsys.readouterr().err


def test_help_has_examples(cli: object, capsys: pytest.CaptureFixture[str]) -> None:
    answer = cli("build", "--help")  # type: ignore[operator]
    assert answer.returncode == 0
    assert "lineside build parts.bundle --precision fp16" in answer.stdout


def test_without_a_gpu_there_is_one_clear_sentence(cli: object, bundle: Path) -> None:
    answer = cli("build", bundle, timeout=120)  # type: ignore[operator]
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1
    assert "TensorRT" in answer.stderr or "NVIDIA" in answer.stderr


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_a_command_that_falls_back_says_so_in_one_sentence(cli: object, tmp_path: Path) -> None:
    pictures = ROOT / "demo" / "pictures" / "bearing"
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(next(pictures.glob("*.jpg")), one)
    answer = cli(  # type: ignore[operator]
        "run", ROOT / "demo" / "bearing.bundle", one, "--engine", "tensorrt:fallback", "--out", tmp_path / "found"
    )
    assert answer.returncode == 0, answer.stderr
    said = [line for line in answer.stderr.splitlines() if "slower" in line]
    assert len(said) == 1 and said[0].startswith(
        "warning: onnxruntime runs the model on the processor, which is slower: "
    )
    assert "opening.py" not in answer.stderr


KILLED = """
    import sys, time
    sys.path.insert(0, {tests!r})
    from helpers import trt_double
    from lineside.runtime.cuda.host import HostDevice
    from lineside.runtime.engines.tensorrt import machine, plans
    sys.modules["tensorrt"] = trt_double
    device = HostDevice()
    device.arch = "compute_87"
    machine.open_device = lambda: device
    trt_double.SETTINGS.pause = {pause}
    trt_double.SETTINGS.steps = 1000 if {pause} else 3
    if not {pause}:
        real = plans.os.replace
        def stuck(part, path):
            if str(path).endswith({at!r}):
                print("replacing", flush=True)
                time.sleep(60)
            real(part, path)
        plans.os.replace = stuck
    from lineside import cli
    sys.exit(cli.main(["build", {bundle!r}]))
"""


def started(bundle: Path, tmp_path: Path, pause: float = 0.0, at: str = "") -> subprocess.Popen[str]:
    script = textwrap.dedent(KILLED.format(tests=str(ROOT / "tests"), pause=pause, at=at, bundle=str(bundle)))
    return subprocess.Popen(
        [sys.executable, "-u", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LINESIDE_CACHE": str(tmp_path / "cache")},
    )


@pytest.mark.parametrize("at", [".plan", ".plan.json"])
def test_a_killed_build_leaves_no_engine_and_the_next_tidies_up(
    bundle: Path, double: trt_double.Settings, tmp_path: Path, at: str
) -> None:
    process = started(bundle, tmp_path, at=at)
    assert process.stdout is not None and process.stdout.readline() == "replacing\n"
    process.kill()
    process.communicate()
    assert list_plans(open_bundle(bundle))[0] == []
    assert any(name.endswith(".part") for name in plans(bundle))
    with pytest.raises(EngineUnavailable, match="no TensorRT engine was built"):
        load(bundle, "tensorrt")
    report = build(bundle)
    assert not any(name.endswith(".part") for name in plans(bundle))
    assert Path(report.engine).name in plans(bundle)
    load(bundle, "tensorrt").close()


def test_ctrl_c_ends_a_build_and_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    process = started(bundle, tmp_path, pause=0.01)
    assert process.stderr is not None
    while not (bundle / "engines").is_dir():
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted"
    assert plans(bundle) == []
