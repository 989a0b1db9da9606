"""Builds of an engine: what is written, what is kept, and where, with a double in TensorRT's place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import IO

import pytest

from helpers import trt_double
from helpers.trt_builds import build, plans
from lineside.runtime import cache
from lineside.runtime.bundle import open_bundle
from lineside.runtime.engines.tensorrt import memory
from lineside.runtime.engines.tensorrt import plans as plans_module
from lineside.runtime.engines.tensorrt.building import BuildOptions, build_engine
from lineside.runtime.errors import EngineFailed
from lineside.runtime.loading import load


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
    assert double.seen["cleared"] == [trt_double.BuilderFlag.TF32]  # FP32 with all of its bits
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
    cache.keep("things/one", b"1")
    cache.keep("things/two", b"2")
    assert cache.fetch("things/one") is None
    with load(archive, "tensorrt") as model:
        assert model.engine_name == "tensorrt"
