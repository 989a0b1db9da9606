"""The pass that gives a graph the bodies of our operators, so that it runs wherever the standard operators do."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper

from lineside.export.graph.passes import GraphPass
from lineside.export.ops.op import DOMAIN, VERSION
from lineside.export.ops.table import find_op

__all__ = ["DECLARE", "used_ops"]


def used_ops(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the operators of ours in a graph, sorted."""
    return tuple(sorted({node.op_type for node in model.graph.node if node.domain == DOMAIN}))


def _declare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Appends a function for each operator that the graph uses, of the graph's own opset."""
    opset = next((entry.version for entry in model.opset_import if entry.domain == ""), 0)
    others = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    names = used_ops(model)
    del model.functions[:], model.opset_import[:]
    model.opset_import.extend(others)
    for name in names:
        op = find_op(name)
        if op is None:
            raise ValueError(f"there is no operator {name}")
        function = op.body()
        del function.opset_import[:]
        function.opset_import.append(helper.make_opsetid("", opset))
        model.functions.append(function)
    if names:
        model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    return model


def _declared(model: onnx.ModelProto) -> str | None:
    """Every node has a standard operator or a function, and ours have the element types that they are declared with."""
    functions, kinds = {(function.domain, function.name) for function in model.functions}, _element_types(model)
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in functions:
            return f"the operator {node.domain}::{node.op_type} has no function"
        wrong = _wrong_type(node, kinds)
        if wrong is not None:
            return wrong
    return None


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element types of the tensors of which the graph says them."""
    graph = model.graph
    values = (*graph.value_info, *graph.input, *graph.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return {**found, **{tensor.name: tensor.data_type for tensor in graph.initializer}}


def _wrong_type(node: onnx.NodeProto, kinds: Mapping[str, int]) -> str | None:
    """What a node of ours reads or writes in another element type than it is declared with."""
    op = find_op(node.op_type) if node.domain == DOMAIN else None
    if op is None:
        return None
    for names, tensors in ((op.inputs, node.input), (op.outputs, node.output)):
        for name, tensor in zip(names, tensors, strict=False):
            kind, wanted = kinds.get(tensor, 0), op.dtypes[name]
            if kind and helper.tensor_dtype_to_np_dtype(kind).name != wanted:
                found = onnx.TensorProto.DataType.Name(kind).lower()
                return f"{name} of {op.name} is {found} ('{tensor}'), and the operator is declared with {wanted}"
    return None


DECLARE = GraphPass("declare functions", _declare, ensures=_declared)
"""Runs after everything that rewrites the graph, since simplifiers know nothing of functions."""
