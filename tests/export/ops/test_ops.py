"""Every operator of ours: its torch form, its body on onnxruntime and a plain numpy computation say the same.

The cases are in the files ``cases_*.py`` beside this one: lists of `helpers.op_case.OpCase` named ``CASES``.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from helpers.op_case import Array, OpCase, run_single, run_torch, single_node
from helpers.op_cases import all_cases
from lineside.export.graph.passes import run_passes
from lineside.export.graph.simplify import SIMPLIFY
from lineside.export.ops.declare import DECLARE
from lineside.export.ops.emit import call
from lineside.export.ops.op import DOMAIN, PLUGIN
from lineside.export.ops.table import OPS, find_op
from lineside.export.trace import to_onnx
from lineside.runtime.errors import ExportError

CASES = all_cases()
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def _inputs(case: OpCase) -> Sequence[Array]:
    return case.inputs(np.random.default_rng(7))


def _assert_close(found: Sequence[Array], wanted: Sequence[Array], tolerance: float) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert np.isfinite(one).all()
        assert np.abs(one - other).max() <= tolerance * max(np.abs(other).max(), 1e-3)


def test_every_operator_has_cases() -> None:
    assert {case.op.base for case in CASES} == set(OPS)


@each_case
def test_torch_body_and_numpy_agree(case: OpCase) -> None:
    inputs = _inputs(case)
    wanted = case.oracle(case.op, *inputs)
    _assert_close(run_torch(case.op, inputs), wanted, case.tolerance)
    _assert_close(run_single(single_node(case.op, inputs), inputs), wanted, case.tolerance)
    _assert_close(run_single(single_node(case.op, inputs, free=True), inputs), wanted, case.tolerance)


@each_case
def test_shapes_are_those_of_the_results(case: OpCase) -> None:
    inputs = _inputs(case)
    shapes = case.op.shapes(*(array.shape for array in inputs))
    assert shapes == tuple(array.shape for array in run_torch(case.op, inputs))


@each_case
def test_element_types_are_those_declared(case: OpCase) -> None:
    """Declared is what the cases give, what torch returns, and what the checker of onnx infers from the body."""
    inputs, dtypes = _inputs(case), case.op.dtypes
    assert set(dtypes) == {*case.op.inputs, *case.op.outputs}
    assert [array.dtype.name for array in inputs] == [dtypes[name] for name in case.op.inputs[: len(inputs)]]
    results = {name: array.dtype.name for name, array in zip(case.op.outputs, run_torch(case.op, inputs), strict=True)}
    assert results == {name: dtypes[name] for name in case.op.outputs}
    model = single_node(case.op, inputs)
    for value in model.graph.output:
        value.type.tensor_type.elem_type = 0
    inferred = onnx.shape_inference.infer_shapes(model).graph.output
    found = {value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in inferred}
    assert {name: kind.name for name, kind in found.items()} == results


@each_case
def test_a_graph_with_other_element_types_is_refused(case: OpCase) -> None:
    for value in single_node(case.op, _inputs(case)).graph.input:
        model = single_node(case.op, _inputs(case))
        changed = next(entry for entry in model.graph.input if entry.name == value.name)
        changed.type.tensor_type.elem_type = onnx.TensorProto.INT64
        with pytest.raises(
            ExportError, match=f"{value.name} of {case.op.name} is int64 .* {case.op.dtypes[value.name]}"
        ):
            run_passes(model, [DECLARE])


@each_case
def test_name_leads_back_to_the_operator(case: OpCase) -> None:
    assert find_op(case.op.name) == case.op
    assert find_op(f"{case.op.name}_x") is None
    assert not onnx.defs.has(case.op.name)  # TensorRT would take it for the standard operator


@each_case
def test_body_is_a_valid_function_of_opset_18_and_19(case: OpCase) -> None:
    model = single_node(case.op, _inputs(case))
    onnx.checker.check_model(model, full_check=True)
    for entry in (*model.opset_import, *(e for function in model.functions for e in function.opset_import)):
        if entry.domain == "":
            entry.version = 19
    onnx.checker.check_model(model, full_check=True)
    inputs = _inputs(case)
    _assert_close(run_single(model, inputs), case.oracle(case.op, *inputs), case.tolerance)


@each_case
def test_another_exporter_writes_what_it_computes(case: OpCase) -> None:
    class Model(nn.Module):
        def forward(self, *tensors: torch.Tensor) -> object:
            return call(case.op, *tensors)

    buffer, inputs = io.BytesIO(), _inputs(case)
    zeros = tuple(torch.from_numpy(array if array.dtype.kind == "i" else np.zeros_like(array)) for array in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = list(case.op.inputs[: len(inputs)])
        torch.onnx.export(Model(), zeros, buffer, input_names=names, opset_version=18, dynamo=False)  # type: ignore[arg-type]
    session = ort.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    given = {value.name for value in session.get_inputs()}  # shapes of levels have become constants
    feed = {name: array for name, array in zip(names, inputs, strict=True) if name in given}
    _assert_close(session.run(None, feed), case.oracle(case.op, *inputs), 3 * case.tolerance)


@each_case
def test_a_traced_model_holds_one_node(case: OpCase) -> None:
    inputs = _inputs(case)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for index, array in enumerate(inputs[1:]):
                self.register_buffer(f"b{index}", torch.from_numpy(array))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found = call(case.op, x * 2, *self.buffers())
            return tuple(part + part.mean() for part in (found if isinstance(found, tuple) else (found,)))

    model = Model().eval()
    names = [f"y{index}" for index in range(len(case.op.outputs))]
    graph = run_passes(to_onnx(model, inputs[0].shape, names), [SIMPLIFY, DECLARE])[0]
    onnx.checker.check_model(graph, full_check=True)
    ours = [node for node in graph.graph.node if node.domain == DOMAIN]
    assert [node.op_type for node in ours] == [case.op.name]
    found = {item.name: onnx.helper.get_attribute_value(item) for item in ours[0].attribute}
    assert {name: found[name].decode() for name in PLUGIN} == PLUGIN
    with torch.no_grad():
        wanted = [part.numpy() for part in model(torch.from_numpy(inputs[0]))]
    _assert_close(run_single(graph, inputs[:1]), wanted, 3 * case.tolerance)
