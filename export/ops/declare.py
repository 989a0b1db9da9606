"""The pass that gives a graph the bodies of our operators, so that it runs wherever the standard operators do."""

from __future__ import annotations

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
    """Every node has a standard operator or a function."""
    functions = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in functions:
            return f"the operator {node.domain}::{node.op_type} has no function"
    return None


DECLARE = GraphPass("declare functions", _declare, ensures=_declared)
"""Runs after everything that rewrites the graph, since simplifiers know nothing of functions."""
