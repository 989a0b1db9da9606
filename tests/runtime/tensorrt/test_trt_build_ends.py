"""Builds that fail, are interrupted or killed: a sentence, and nothing that is half there."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from helpers import trt_double
from helpers.trt_builds import build, plans
from helpers.trt_process import start
from lineside.runtime.bundle import open_bundle
from lineside.runtime.engines.tensorrt import plugin as plugin_module
from lineside.runtime.engines.tensorrt.building import BuildOptions, build_engine
from lineside.runtime.engines.tensorrt.plans import building, list_plans
from lineside.runtime.errors import EngineFailed, EngineUnavailable
from lineside.runtime.loading import load


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


BUILD = """
    import time
    from lineside import cli
    from lineside.runtime.engines.tensorrt import plans
    real = plans.os.replace
    def stuck(part, path):
        if {at} and str(path).endswith({at}):
            print("replacing", flush=True)
            time.sleep(60)
        real(part, path)
    plans.os.replace = stuck
    trt_double.SETTINGS.pause = {pause}
    trt_double.SETTINGS.steps = 1000 if {pause} else 3
    sys.exit(cli.main(["build", {bundle}]))
"""


@pytest.mark.parametrize("at", [".plan", ".plan.json"])
def test_a_killed_build_leaves_no_engine_and_the_next_tidies_up(
    bundle: Path, double: trt_double.Settings, tmp_path: Path, at: str
) -> None:
    process = start(BUILD, tmp_path / "cache", bundle=str(bundle), at=at, pause=0.0)
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
    process = start(BUILD, tmp_path / "cache", bundle=str(bundle), at="", pause=0.01)
    assert process.stderr is not None
    while not (bundle / "engines").is_dir():
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted"
    assert plans(bundle) == []
