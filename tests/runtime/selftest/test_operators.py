"""Operators by themselves: the body that a bundle brings, cut out and executed, beside the kernel on the host device."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch", reason="bodies are written by the exporter")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper  # noqa: E402

from lineside.export.ops.declare import DECLARE  # noqa: E402
from lineside.export.ops.table import find_op  # noqa: E402
from lineside.runtime.cuda.host import HostDevice  # noqa: E402
from lineside.runtime.ops.op import DOMAIN, PLUGIN  # noqa: E402
from lineside.runtime.ops.table import OPS, find_device_op  # noqa: E402
from lineside.runtime.selftest.bodies import rounded, run_body  # noqa: E402
from lineside.runtime.selftest.examples import EXAMPLES, example  # noqa: E402
from lineside.runtime.selftest.kernels import LIMITS, launched  # noqa: E402
from lineside.runtime.selftest.plugins import bodies_only  # noqa: E402

NAMES = (
    "Carafe_k5_up2",
    "Carafe_k3_up1",
    "Carafe_k4_up2_g2_reflect",
    "MSDeformAttn_l1",
    "MSDeformAttn_l3",
    "SelectiveScan_n1_softplus_bias_skip",
    "SelectiveScan_n16_softplus_bias_skip_gate_last",
)


def model_of(*names: str) -> bytes:
    """An ONNX file with one node of each operator, and their bodies."""
    nodes, values = [], []
    for name in names:
        op = find_op(name)
        assert op is not None
        inputs = [f"{name}/{key}" for key in op.inputs]
        outputs = [f"{name}/{key}" for key in op.outputs]
        nodes.append(helper.make_node(name, inputs, outputs, name, domain=DOMAIN, **PLUGIN))
        arrays = example(find_device_op(name))
        assert arrays is not None
        shapes = [array.shape for array in arrays]
        kinds = [TensorProto.INT32 if array.dtype == np.int32 else TensorProto.FLOAT for array in arrays]
        given = [helper.make_tensor_value_info(*one) for one in zip(inputs, kinds, shapes, strict=True)]
        made = [
            helper.make_tensor_value_info(key, TensorProto.FLOAT, shape)
            for key, shape in zip(outputs, op.shapes(*shapes), strict=True)
        ]
        values.append((given, made))
    graph = helper.make_graph(
        nodes, "g", [one for given, _ in values for one in given], [one for _, made in values for one in made]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return DECLARE.apply(model).SerializeToString()


def test_there_are_inputs_for_every_operator_with_a_kernel() -> None:
    assert set(EXAMPLES) == set(OPS) - {"ModDeformConv2d"}  # that one has TensorRT's own kernel


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ builds the kernels of the host device")
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_computes_what_its_body_computes(name: str, half: bool) -> None:
    op = find_device_op(name)
    inputs = example(op, seed=3)
    assert inputs is not None
    inputs = rounded(inputs, op.inputs, op.floating if half else frozenset())
    wanted = run_body(model_of(name), op, inputs)
    assert wanted is not None
    device = HostDevice()
    try:
        found = launched(device, op, inputs, half)
    finally:
        device.close()
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= LIMITS[half] * np.abs(other).max()


def test_a_body_that_is_not_there() -> None:
    op = find_device_op("Carafe_k5_up2")
    assert run_body(model_of("Carafe_k3_up1"), op, example(op) or []) is None


def test_only_one_operator_asks_for_its_plugin(tmp_path: Path) -> None:
    """The others run as their bodies, also where their plugins are registered."""
    from helpers import rtx

    rtx.require()
    names = ("Carafe_k5_up2", "MSDeformAttn_l3")
    creators = [rtx.Creator(name, DOMAIN) for name in names]
    tasks = []
    for name in names:
        for strip in (False, True):
            file = tmp_path / f"{name}-{strip}.onnx"
            file.write_bytes(bodies_only(model_of(*names), (name,), strip))
            tasks.append((file, creators))
    none = tmp_path / "none.onnx"
    none.write_bytes(bodies_only(model_of(*names), (), False))
    *parsed, bodies = rtx.parse([*tasks, (none, creators)])
    asked = [[one.name for one in found.asked] for found in parsed]
    assert asked == [[names[0]], [names[0]], [names[1]], [names[1]]]
    assert not bodies.asked and not bodies.errors and bodies.layers > 10
    (model,) = (onnx.load(path) for path in [tmp_path / f"{names[1]}-True.onnx"])
    assert [function.name for function in model.functions] == [names[0]]
