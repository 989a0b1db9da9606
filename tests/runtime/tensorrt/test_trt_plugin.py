"""Plugins at work: their kernels on a host device, and a build of a model with operators of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from helpers import trt_double
from helpers.tiny_bundle import tiny_bundle
from lineside.export.ops.declare import DECLARE
from lineside.export.ops.table import find_op
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.engines.tensorrt import plugin as plugins
from lineside.runtime.engines.tensorrt.building import BuildOptions, BuildReport, build_engine
from lineside.runtime.engines.tensorrt.finding import wanted_of
from lineside.runtime.engines.tensorrt.machine import open_machine
from lineside.runtime.engines.tensorrt.plans import list_plans
from lineside.runtime.engines.tensorrt.sidecar import differences
from lineside.runtime.errors import BadOption, EngineFailed, EngineUnavailable
from lineside.runtime.manifest import decode_manifest
from lineside.runtime.ops.op import DOMAIN, PLUGIN
from lineside.runtime.ops.table import find_device_op

CARAFE = "Carafe_k3_up2"


class Desc:
    """What TensorRT tells a plugin of a tensor."""

    def __init__(self, array: np.ndarray) -> None:
        kinds = {"float32": trt_double.float32, "float16": trt_double.float16, "int32": trt_double.int32}
        self.dims, self.type, self.format = array.shape, kinds[array.dtype.name], trt_double.TensorFormat.LINEAR


@pytest.fixture
def device() -> HostDevice:  # type: ignore[misc]
    opened = HostDevice()
    yield opened
    opened.close()


def enqueue(device: HostDevice, name: str, given: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
    """Runs a plugin as TensorRT does, on arrays that lie on the device; the outputs are filled in."""
    op = find_device_op(name)
    assert op is not None
    creator = plugins._classes(trt_double)[1](op, device)
    made = creator.create_plugin(name, [], None)
    descs, results = [Desc(array) for array in given], [Desc(array) for array in outputs]
    assert made.on_shape_change(descs, results) is None
    buffers = [device.allocate(array.nbytes) for array in (*given, *outputs)]
    for buffer, array in zip(buffers, given, strict=False):
        buffer.inside().view(array.dtype)[:] = array.reshape(-1)
    stream = device.stream()
    addresses = [buffer.address for buffer in buffers]
    code = made.enqueue(descs, results, addresses[: len(given)], addresses[len(given) :], 0, stream.handle)
    device.synchronize(stream)
    for buffer, array in zip(buffers[len(given) :], outputs, strict=True):
        array[...] = buffer.inside().view(array.dtype).reshape(array.shape)
    assert code is None  # a code would mean nothing to TensorRT: it wants an exception


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_a_plugin_computes_on_tensorrts_stream(device: HostDevice, kind: str) -> None:
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(1, 8, 5, 6)).astype(kind), rng.random((1, 9, 10, 12)).astype(kind)
    y = np.zeros((1, 8, 10, 12), kind)
    enqueue(device, CARAFE, [x, mask], [y])
    op = find_op(CARAFE)
    assert op is not None
    wanted = op.torch(torch.tensor(x.astype(np.float32)), torch.tensor(mask.astype(np.float32)))
    np.testing.assert_allclose(y, wanted, atol=1e-5 if kind == "float32" else 1e-2)
    assert device.counters.launches == 1


def test_a_plugin_has_nothing_to_do_for_a_batch_without_pictures(device: HostDevice) -> None:
    op = find_device_op(CARAFE)
    assert op is not None
    made = plugins._classes(trt_double)[1](op, device).create_plugin(CARAFE, [], None)
    x, mask, y = (np.zeros(shape, np.float32) for shape in ((0, 8, 5, 6), (0, 9, 10, 12), (0, 8, 10, 12)))
    assert made.enqueue([Desc(x), Desc(mask)], [Desc(y)], [0, 0], [0], 0, device.stream().handle) is None
    assert plugins.take_failure() is None and device.counters.launches == 0


def test_what_goes_wrong_inside_is_raised_for_tensorrt_and_kept_for_us(device: HostDevice) -> None:
    plugins.take_failure()
    op = find_device_op(CARAFE)
    assert op is not None
    made = plugins._classes(trt_double)[1](op, device).create_plugin(CARAFE, [], None)
    x, mask = np.zeros((1, 8, 5, 6), np.float32), np.zeros((1, 9, 10, 12), np.float32)
    stream = device.stream()
    device.close()
    with pytest.raises(EngineFailed, match="closed"):
        made.enqueue([Desc(x), Desc(mask)], [], [0, 0], [0], 0, stream.handle)
    failure = plugins.take_failure()
    assert isinstance(failure, EngineFailed) and "closed" in str(failure)
    assert plugins.take_failure() is None


def test_a_plugin_launches_on_the_device_of_the_model_that_runs(device: HostDevice) -> None:
    other = HostDevice()
    op = find_device_op(CARAFE)
    assert op is not None
    made = plugins._classes(trt_double)[1](op, other).create_plugin(CARAFE, [], None)
    other.close()
    x, mask, y = (np.zeros(shape, np.float32) for shape in ((1, 8, 5, 6), (1, 9, 10, 12), (1, 8, 10, 12)))
    buffers = [device.allocate(array.nbytes) for array in (x, mask, y)]
    stream = device.stream()
    with plugins.launching(device):
        made.enqueue(
            [Desc(x), Desc(mask)], [Desc(y)], [it.address for it in buffers[:2]], [buffers[2].address], 0, stream.handle
        )
    device.synchronize(stream)
    assert device.counters.launches == 1


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose graph upsamples its input with an operator of ours on the side."""
    folder = tiny_bundle(tmp_path / "tiny.bundle")
    model = onnx.load(folder / "model.onnx")
    opsets = [helper.make_opsetid("", 19)]
    weights = helper.make_tensor("m", TensorProto.FLOAT, (1, 9, 128, 128), np.zeros(9 * 128 * 128, np.float32))
    model.graph.initializer.append(weights)
    model.graph.node.append(helper.make_node(CARAFE, ["images", "m"], ["side"], domain=DOMAIN, **PLUGIN))
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    onnx.save(DECLARE.apply(model), folder / "model.onnx")
    manifest = decode_manifest((folder / "manifest.json").read_bytes(), "")
    write_manifest(folder, msgspec.structs.replace(manifest, custom_ops=(CARAFE,)))
    return folder


def build(path: Path, **options: object) -> BuildReport:
    return build_engine(open_bundle(path), BuildOptions(**options), lambda share, note: None)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty registry for each test."""
    monkeypatch.setattr(trt_double, "REGISTRY", trt_double._Registry())
    monkeypatch.setattr(plugins, "_REGISTERED", {})


def functions(double: trt_double.Settings) -> list[str]:
    return [function.name for function in onnx.load_from_string(double.seen["onnx"]).functions]


def test_a_build_takes_plugins_where_there_are_kernels(bundle: Path, double: trt_double.Settings) -> None:
    report = build(bundle)
    assert (report.plugins, report.bodies, report.standalone) == ((CARAFE,), (), False)
    assert functions(double) == []  # TensorRT 10.3 would take the function
    assert list(trt_double.REGISTRY.creators) == [(CARAFE, "1", DOMAIN)]
    sidecar = json.loads(Path(f"{report.engine}.json").read_text())
    assert list(sidecar["kernels"]) == [CARAFE]


def test_a_build_without_plugins_runs_bodies(bundle: Path, double: trt_double.Settings) -> None:
    report = build(bundle, plugins=False)
    assert (report.plugins, report.bodies, report.standalone) == ((), (CARAFE,), True)
    assert functions(double) == [CARAFE]
    assert trt_double.REGISTRY.creators == {}


def test_a_plugin_that_fails_while_it_is_timed_is_the_reason(bundle: Path, double: trt_double.Settings) -> None:
    def enqueue_nowhere() -> None:
        creator = trt_double.REGISTRY.creators[CARAFE, "1", DOMAIN]
        with pytest.raises(EngineFailed):
            creator.create_plugin(CARAFE, [], None).enqueue(
                [Desc(np.zeros((1, 8, 5, 6), np.float32))] * 2, [], [0, 0], [0], 0, 7
            )

    double.meanwhile, double.errors = enqueue_nowhere, ("Error Code 10: Could not find any implementation",)
    with pytest.raises(EngineFailed, match="could not build the engine .a plugin failed: .*stream"):
        build(bundle)


def test_standalone_needs_a_driver_that_reads_the_ptx(
    bundle: Path, double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trt_double, "__version__", "10.13.3")
    monkeypatch.setattr(HostDevice, "reads", lambda device, kernel: kernel.name != "carafe")
    with pytest.raises(EngineUnavailable, match="--standalone puts the kernels .* as PTX.*driver is too old.*leave"):
        build(bundle, standalone=True)


def test_standalone_needs_a_newer_tensorrt(bundle: Path, double: trt_double.Settings) -> None:
    with pytest.raises(BadOption, match="--standalone needs TensorRT 10.9 .* 10.3.0 is installed"):
        build(bundle, standalone=True)


def test_a_kernel_that_changed_is_named(
    bundle: Path, double: trt_double.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(bundle)
    opened = open_bundle(bundle)
    machine = open_machine()
    ((stored,), _) = list_plans(opened)
    assert differences(stored.sidecar, wanted_of(opened, machine)) == []
    changed = msgspec.structs.replace(stored.sidecar, kernels={CARAFE: "0" * 64})
    (said,) = differences(changed, wanted_of(opened, machine))
    assert said.startswith(f"kernel of {CARAFE}: yours ") and said.endswith("the engine's 000000000000…")
    compiled_in = msgspec.structs.replace(changed, standalone=True)
    assert differences(compiled_in, wanted_of(opened, machine)) == []
