"""A graph of one operator of ours and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

from lineside.export.graph.passes import run_passes
from lineside.export.ops.body import OPSET
from lineside.export.ops.declare import DECLARE
from lineside.export.ops.op import DOMAIN, PLUGIN, CustomOp, Shape

__all__ = ["single_node"]

IR_VERSION = 8
"""The first with functions; every onnxruntime that we run on reads it."""


def single_node(op: CustomOp, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
    """A graph that applies an operator to its inputs.

    Args:
        op: The operator.
        shapes: Shapes of its inputs by name; one that is missing is left out of the node.

    Returns:
        The graph with the operator's function; element types are those that the operator is declared with.
    """
    used = [name for name in op.inputs if name in shapes]
    results = op.shapes(*(shapes[name] for name in used))
    attributes: dict[str, Any] = {**PLUGIN, **op.attributes}
    kinds = {name: helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) for name, dtype in op.dtypes.items()}
    graph = helper.make_graph(
        [helper.make_node(op.name, used, list(op.outputs), domain=DOMAIN, **attributes)],
        op.name,
        [helper.make_tensor_value_info(name, kinds[name], shapes[name]) for name in used],
        [
            helper.make_tensor_value_info(name, kinds[name], shape)
            for name, shape in zip(op.outputs, results, strict=True)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return run_passes(model, [DECLARE])[0]
