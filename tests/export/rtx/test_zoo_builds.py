"""Every model of the zoo on TensorRT-RTX: parsed and built from the bodies of our operators, and the plugins it asks for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from helpers import rtx
from helpers.op_cases import all_cases
from helpers.rtx import Creator
from helpers.zoo import FOLDER
from helpers.zoo_graphs import ALL, BASE, SIDE, zoo_graph
from lineside.export.ops.declare import used_ops
from lineside.export.ops.op import DOMAIN, VERSION
from lineside.export.pictures import drawn_pictures
from lineside.export.precision.calibrate import letterboxed_inputs
from lineside.export.precision.half import to_fp16
from lineside.export.precision.quantise import to_int8
from lineside.runtime.ops.kernels import NAMES
from lineside.runtime.ops.table import find_device_op

OPERATORS = {
    "yolo11-seg-dcn": {"ModDeformConv2d_k3_s1"},
    "yolo11-seg-dyhead": {"ModDeformConv2d_k3_s1", "ModDeformConv2d_k3_s2"},
    "yolo11-seg-freq": {"Carafe_k3_up1", "Carafe_k5_up2"},
    "yolo11-seg-msda": {"MSDeformAttn_l3"},
    "yolo11-seg-ss2d": {"SelectiveScan_n1_softplus_bias_skip"},
}
"""Operators of ours in each model; the others have none."""

TRIED = {case.op.name for case in all_cases()}
"""Configurations whose bodies and kernels are held against numpy: those of the zoo must be among them."""

KINDS = {
    AttributeProto.INT: "INT32",
    AttributeProto.INTS: "INT32",
    AttributeProto.FLOAT: "FLOAT32",
    AttributeProto.FLOATS: "FLOAT32",
    AttributeProto.STRING: "CHAR",
}


@pytest.fixture(autouse=True)
def there() -> None:
    rtx.require()


def test_no_model_of_the_zoo_is_left_out() -> None:
    pages = (FOLDER.parents[1] / "docs" / "zoo.md").read_text()
    told = set(re.findall(r"^\| `([a-z0-9-]+)` \|", pages, re.MULTILINE))
    assert {f"yolo11-seg-{name}" for name in told} == {*ALL} - {BASE}
    assert set(OPERATORS) < set(ALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_a_model_is_parsed_and_built(name: str, tmp_path: Path) -> None:
    graph = zoo_graph(name)
    onnx.save(graph, tmp_path / "fp32.onnx")
    onnx.save(to_fp16(graph), tmp_path / "fp16.onnx")
    single, half = rtx.build([tmp_path / "fp32.onnx", tmp_path / "fp16.onnx"])
    single.check()
    half.check()
    assert set(single.kinds) == {"FLOAT"}
    assert half.kinds["HALF"] > 4 * half.kinds.get("FLOAT", 0)
    assert half.nbytes < single.nbytes
    assert single.layers > len(graph.graph.node)  # nothing was passed over, and functions were expanded
    assert "PLUGIN_V3" not in single.types
    assert set(used_ops(graph)) == OPERATORS.get(name, set())
    for op in used_ops(graph):
        assert op in TRIED, "tests/export/ops/cases_*.py"
        declared = find_device_op(op)
        assert declared is not None and (op in NAMES or declared.device_kernel(False) is None), "runtime/ops/kernels.py"
        asks_for_its_plugin(next(node for node in graph.graph.node if node.op_type == op), tmp_path / "fp32.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo11-seg", "yolo11-seg-edge"])
def test_int8_is_parsed_and_built(name: str, tmp_path: Path) -> None:
    """Explicit pairs, signed and symmetric. What an engine of TensorRT-RTX holds of them is decided on a GPU."""
    graph = zoo_graph(name)
    pictures = letterboxed_inputs([picture.frame for picture in drawn_pictures((), [(SIDE, SIDE)] * 2)], (SIDE, SIDE))
    onnx.save(to_int8(graph, "int8-trt", pictures), tmp_path / "int8.onnx")
    (made,) = rtx.build([tmp_path / "int8.onnx"])
    made.check()
    assert made.types["QUANTIZE"] > made.types["CONVOLUTION"] / 2
    assert made.types["DEQUANTIZE"] > made.types["CONVOLUTION"]  # of weights, and of inputs


def asks_for_its_plugin(node: onnx.NodeProto, file: Path) -> None:
    """A node's plugin is asked for by our name, namespace and version, and told every attribute with its type."""
    told = attributes(node)
    creator = Creator(node.op_type, DOMAIN, str(VERSION), {key: kind for key, (kind, _) in told.items()})
    (found,) = rtx.parse([(file, [creator])])
    assert len(found.asked) == 1, found.errors
    asked = found.asked[0]
    assert (asked.name, asked.namespace, asked.version) == (node.op_type, DOMAIN, str(VERSION))
    assert asked.fields == told
    assert asked.fields["plugin_namespace"] == ("CHAR", DOMAIN)


def attributes(node: onnx.NodeProto) -> dict[str, tuple[str, object]]:
    """Type and value of each attribute of a node as a plugin's creator is told them; single numbers as a list."""
    found: dict[str, tuple[str, object]] = {}
    for one in node.attribute:
        value = helper.get_attribute_value(one)
        if isinstance(value, bytes):
            found[one.name] = (KINDS[one.type], value.decode())
        else:
            found[one.name] = (KINDS[one.type], list(value) if isinstance(value, (list, tuple)) else [value])
    return found


def test_what_tensorrt_refuses_is_refused_here(tmp_path: Path) -> None:
    """Otherwise a model that passes would prove nothing: weights of another type than the input."""
    weights = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float16), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="mixed")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 6, 6))],
        [weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    (made,) = rtx.build([tmp_path / "m.onnx"])
    assert "mixed" in made.errors[0] and "same type" in " ".join(made.errors)
    with pytest.raises(AssertionError, match="same type"):
        made.check()
