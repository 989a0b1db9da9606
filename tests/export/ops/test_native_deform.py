"""``DeformConv`` in the place of our operator, and the onnxruntime that a graph needs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from helpers.op_case import OpCase, run_single, single_node
from helpers.op_cases import all_cases
from lineside.export.graph.passes import run_passes
from lineside.export.oldest_onnxruntime import oldest_onnxruntime
from lineside.export.ops.declare import DECLARE
from lineside.export.ops.native_deform import NATIVE_DEFORM
from lineside.runtime.errors import ExportError


def graph_of(case: OpCase, opset: int = 19) -> onnx.ModelProto:
    """A graph of the node alone, without its function."""
    model = single_node(case.op, case.inputs(np.random.default_rng(3)))
    del model.functions[:]
    next(entry for entry in model.opset_import if entry.domain == "").version = opset
    return model


@pytest.mark.parametrize("case", all_cases("mod_deform_conv2d"), ids=str)
def test_standard_operator_computes_the_same(case: OpCase) -> None:
    inputs = case.inputs(np.random.default_rng(3))
    model = run_passes(graph_of(case), [NATIVE_DEFORM, DECLARE])[0]
    assert [node.op_type for node in model.graph.node] == ["DeformConv"]
    assert not model.functions
    onnx.checker.check_model(model, full_check=True)
    (found,), (wanted,) = run_single(model, inputs), case.oracle(case.op, *inputs)
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert oldest_onnxruntime(model) == "1.25"


def test_portable_form_runs_everywhere() -> None:
    case = all_cases("mod_deform_conv2d")[0]
    assert oldest_onnxruntime(single_node(case.op, case.inputs(np.random.default_rng(3)))) == "1.17"


def test_graph_without_a_deformable_convolution_has_nothing_to_replace() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8)
    with pytest.raises(ExportError, match="leave out --deform native"):
        run_passes(model, [NATIVE_DEFORM])


def test_opset_without_the_standard_operator() -> None:
    with pytest.raises(ExportError, match="opset is 18"):
        run_passes(graph_of(all_cases("mod_deform_conv2d")[0], opset=18), [NATIVE_DEFORM])


def test_operator_inside_a_branch_or_a_function_counts() -> None:
    deform = helper.make_node("DeformConv", ["a", "w", "o"], ["r"])
    inner = helper.make_graph([deform], "inner", [], [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    opsets = [helper.make_opsetid("", 19)]
    outer = helper.make_graph([branch], "g", [], [])
    assert oldest_onnxruntime(helper.make_model(outer, opset_imports=opsets, ir_version=8)) == "1.25"
    function = helper.make_function("own", "F", ["a", "w", "o"], ["r"], [deform], opsets)
    empty = helper.make_graph([], "g", [], [])
    model = helper.make_model(empty, opset_imports=opsets, ir_version=8, functions=[function])
    assert oldest_onnxruntime(model) == "1.25"
    foreign = helper.make_graph([helper.make_node("DeformConv", ["a"], ["r"], domain="own")], "g", [], [])
    assert oldest_onnxruntime(helper.make_model(foreign, opset_imports=opsets, ir_version=8)) == "1.17"
