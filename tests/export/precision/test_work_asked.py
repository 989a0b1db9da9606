"""What a variant asks of an engine, and the audit that holds the engine to it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from lineside.export.precision.graph import element_types, plain_copy
from lineside.export.precision.half import to_fp16
from lineside.export.precision.symmetric import to_symmetric
from lineside.export.precision.work import asked_share
from lineside.runtime.engines.tensorrt.audit import audit

DEMO = Path(__file__).resolve().parents[3] / "demo"


def variant(task: str, precision: str, free: bool = False) -> onnx.ModelProto:
    """A demo model in a precision; its ranges do not matter here."""
    plain = onnx.load(DEMO / f"{task}.bundle" / "model.onnx")
    if free:
        for value in (*plain.graph.input, *plain.graph.output):
            for axis in (0, 2, 3):
                value.type.tensor_type.shape.dim[axis].dim_param = f"free{axis}"
    if precision == "fp16":
        return to_fp16(plain)
    return to_symmetric(plain, dict.fromkeys(element_types(plain_copy(plain)), (-1.0, 1.0)))


def inspected(model: onnx.ModelProto, precision: str, obeys: float = 1.0) -> str:
    """What an inspector says of an engine that does so much of what is asked, counted in convolutions."""
    twin = shape_inference.infer_shapes(model, data_prop=True).graph
    types = element_types(model)
    shapes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
              for value in (*twin.value_info, *twin.output, *twin.input)}  # fmt: skip
    weights = {tensor.name: math.prod(tensor.dims) for tensor in twin.initializer}
    weights |= {node.output[0]: weights[node.input[0]] for node in twin.node if node.input and node.input[0] in weights}
    layers, seen = [], 0
    for node in twin.node:
        if node.op_type not in ("Conv", "ConvTranspose"):
            continue
        source, made = (shapes[name] for name in (node.input[0], node.output[0]))
        asked = node.input[0].endswith("/dq") or types[node.input[0]] == TensorProto.FLOAT16
        seen += asked
        runs = asked and (seen * obeys) % 1 + obeys >= 1
        kind = {"fp16": "Half", "int8": "Int8"}[precision] if runs else "Float"
        layers.append(
            {
                "LayerType": "CaskDeconvolution" if node.op_type == "ConvTranspose" else "CaskConvolution",
                "Inputs": [{"Dimensions": source, "Format/Datatype": kind}],
                "Outputs": [{"Dimensions": made, "Format/Datatype": kind}],
                "Weights": {"Count": weights[node.input[1]]},
            }
        )
    return json.dumps({"Layers": layers})


@pytest.mark.parametrize(("precision", "low", "high"), [("int8", 0.44, 0.48), ("fp16", 0.95, 0.99)])
def test_an_engine_that_does_as_asked_passes_and_one_that_does_not_is_refused(
    precision: str, low: float, high: float
) -> None:
    model = variant("bearing", precision)
    asked = asked_share(model, (320, 320))
    assert asked is not None and low < asked < high
    obedient = audit(inspected(model, precision), precision, asked=asked)
    assert obedient.share == pytest.approx(asked, abs=1e-3) and obedient.passed
    assert audit(inspected(model, precision), precision).passed  # a bundle from before the share was noted
    assert not audit(inspected(model, precision, 0.75), precision, asked=asked).passed
    assert not audit(inspected(model, precision, 0.0), precision).passed


def test_a_model_of_free_sizes_asks_for_the_same() -> None:
    free = asked_share(variant("tube", "int8", free=True), (320, 320))
    assert free == pytest.approx(asked_share(variant("tube", "int8"), (320, 320)))


def test_work_is_weights_times_places() -> None:
    """One of two convolutions is in bytes; its places are a quarter, its weights the same."""
    stored = {
        "w": np.ones((3, 3, 1, 1), np.float32), "b": np.ones((3, 3, 1, 1), np.int8), "s": np.float32(0.1), "z": np.int8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("QuantizeLinear", ["p", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["b", "s", "z"], ["e"]),
        helper.make_node("Conv", ["d", "e"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    assert asked_share(model, (8, 8)) == pytest.approx(0.2)
    model.graph.node[-1].input[1] = "w"  # data in bytes alone do not make it whole numbers
    assert asked_share(model, (8, 8)) == 0
