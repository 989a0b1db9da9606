"""The checks that need TensorRT, on its double over a host device: what they find, and what they leave behind."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from helpers import trt_double
from helpers.selftested import with_operator
from helpers.trt_builds import build, with_fp16
from lineside.runtime.bundle import open_bundle
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.engines.tensorrt import machine
from lineside.runtime.errors import BadOption, EngineFailed
from lineside.runtime.selftest import run
from lineside.runtime.selftest.building import find_engine
from lineside.runtime.selftest.findings import Line, Report, Table
from lineside.runtime.selftest.layers import layer_times
from lineside.runtime.selftest.run import selftest
from lineside.runtime.selftest.subject import Options, Subject
from lineside.runtime.selftest.table import find_check

pytestmark = pytest.mark.slow
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ builds the kernels of the host device")
OP = "Carafe_k3_up1"


class IProfiler:
    def __init__(self) -> None:
        pass


def has_stream(device: HostDevice, handle: int) -> bool:
    try:
        device.adopt(handle)
    except EngineFailed:
        return False
    return True


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> trt_double.Settings:
    """The double in TensorRT's place, and a host device that says it is an Orin's GPU."""
    settings = trt_double.Settings()
    opened: list[HostDevice] = []

    def open_device(engine: str = "tensorrt") -> HostDevice:
        device = HostDevice()
        device.arch, device.name = f"compute_{settings.sm}", "a double of an Orin"
        opened.append(device)
        return device

    execute = trt_double._Context.execute_async_v3

    def profiled(self: Any, stream_handle: int) -> bool:
        settings.device = next(device for device in opened if has_stream(device, stream_handle))
        done = execute(self, stream_handle)
        if getattr(self, "profiler", None) is not None:
            for number, node in enumerate(self._engine.model.graph.node):
                self.profiler.report_layer_time(node.name or node.op_type, float(number == 3) + 0.25)
        return done

    monkeypatch.setattr(trt_double._Context, "execute_async_v3", profiled)
    monkeypatch.setattr(trt_double, "IProfiler", IProfiler, raising=False)
    monkeypatch.setattr(trt_double, "SETTINGS", settings)
    monkeypatch.setitem(sys.modules, "tensorrt", trt_double)
    monkeypatch.setattr(run, "open_device", open_device)
    monkeypatch.setattr(machine, "open_device", open_device)
    monkeypatch.setattr(trt_double, "__version__", "10.13.0")  # 10.3 wants no bodies, and the double runs nothing else
    return settings


@pytest.fixture
def bundle(repository: Path, tmp_path: Path) -> Path:
    return with_operator(repository / "demo/bearing.bundle", tmp_path / "bearing.bundle")


def selftested(bundle: Path, *checks: str) -> Report:
    return selftest(open_bundle(bundle), Options("tensorrt", frames=3, size=(120, 160)), checks)


def lines(report: Report) -> dict[str, Line]:
    return {line.name: line for line in report.lines}


def test_a_build_is_reported_and_its_engine_used(bundle: Path, double: trt_double.Settings) -> None:
    report = selftested(bundle, "build", "parity")
    assert report.passed and report.real, [line.text for line in report.lines if line.verdict == "failed"]
    found = lines(report)
    assert "TensorRT 10.13.0, a double of an Orin (sm 87), fp32" in found["engine"].text
    assert found["precision of the engine"].verdict == "checked"
    assert found["operators of the engine"].text == f"plugins: {OP}"
    assert found["TensorRT warned"].text == "a warning of the double"
    assert found["masks"].verdict == found["raw outputs beside the CPU's"].verdict == "checked"
    sidecar = next((bundle / "engines").glob("*.json"))
    assert report.options["precision"] == json.loads(sidecar.read_text())["precision"] == "fp32"
    again = lines(selftested(bundle, "build"))
    assert again["engine"].text.startswith("there already")


def test_an_engine_in_another_precision_fails(bundle: Path, double: trt_double.Settings) -> None:
    report = selftest(open_bundle(with_fp16(bundle)), Options("tensorrt", precision="fp16"), ("build",))
    (line,) = report.lines
    assert line.verdict == "failed" and not report.passed and "does not compute in fp16" in line.text


def test_a_precision_that_the_bundle_lacks_is_refused_before_the_work(
    bundle: Path, double: trt_double.Settings
) -> None:
    with pytest.raises(BadOption, match="no model in fp16 for TensorRT .*--precision fp16"):
        selftest(open_bundle(bundle), Options("tensorrt", precision="fp16"), ("parity",))


def test_every_check_takes_the_engine_of_the_precision_asked_for(bundle: Path, double: trt_double.Settings) -> None:
    double.type = "Half"
    for file in ("golden/001.npz", "golden/002.npz"):
        (bundle / file).unlink()
    with_fp16(bundle)
    for precision in ("fp16", "fp32"):
        build(bundle, precision=precision, least=0.0)
    (newest,) = (bundle / "engines").glob("*-fp32-*.plan")
    newest.write_bytes(b"whoever takes this one fails")
    with closing(Subject(open_bundle(bundle), Options("tensorrt", precision="fp16"), run.open_device())) as subject:
        find_engine(subject)
        lines_of_parity = find_check("parity")
        assert next(iter(lines_of_parity(subject))).verdict == "checked"
        assert layer_times(subject, 1)
        with closing(subject.runner()) as runner:
            assert "-fp16-" in runner.reason
        subject.variant = None  # nothing was asked for: the newest
        for work in (lambda: next(iter(lines_of_parity(subject))), lambda: layer_times(subject, 1)):
            with pytest.raises(EngineFailed, match="damaged"):
                work()


def test_without_an_engine_parity_says_what_to_do(bundle: Path, double: trt_double.Settings) -> None:
    (line,) = selftested(bundle, "parity").lines
    assert line.verdict == "failed" and "lineside build" in line.text


def test_a_plugin_is_held_against_its_body(bundle: Path, double: trt_double.Settings) -> None:
    report = selftested(bundle, "plugins")
    assert lines(report)[OP].verdict == "checked", lines(report)[OP].text
    assert double.seen["builds"] == 2
    assert not list(bundle.rglob("*.plan")) and not (bundle / "engines").exists()  # it leaves no engine behind


def test_a_plugin_that_computes_something_else_fails(
    bundle: Path, double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = trt_double._Context._run

    def wrong(self: Any, shape: Any) -> None:
        execute(self, shape)
        named = [node for node in self._engine.model.graph.node if node.op_type == OP and len(node.attribute)]
        if named:  # a node that names a plugin
            trt_double._at(self._addresses["protos"], (1, 32, 80, 80))[..., ::7] += 40.0

    monkeypatch.setattr(trt_double._Context, "_run", wrong)
    report = selftested(bundle, "plugins")
    assert not report.passed and "least cosine" in lines(report)[OP].text


@needs_compiler
def test_layers_and_steps_are_timed(bundle: Path, double: trt_double.Settings) -> None:
    report = selftested(bundle, "build", "latency")
    assert report.passed, [line.text for line in report.lines if line.verdict == "failed"]
    layers: Table = report.tables[-1]
    assert layers.title.startswith("Slowest layers in ms, 40 of ")
    assert layers.rows[0][1:3] == (3, 1.25) and layers.rows[1][2] == 0.25
    steps = report.tables[-2]
    assert [row[0].partition(". ")[2] for row in steps.rows[:3]] == ["upload", "letterbox_packed", "engine"]  # type: ignore[union-attr]
    assert len({row[0].partition(". ")[2] for row in steps.rows}) == len(steps.rows), "two steps of one name"  # type: ignore[union-attr]
