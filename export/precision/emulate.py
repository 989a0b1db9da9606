"""A half-precision graph as a processor has to run it to see what FP16 hardware sees.

onnxruntime has hardly an FP16 kernel for processors: it computes such a graph in float32 and takes out the casts between,
so that nothing is rounded. What this graph computes is rounded to FP16 after every operator that is FP16, and summed up in
float32 inside of one, as tensor cores do.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper

from lineside.export.precision.graph import element_types

__all__ = ["rounding_like_half"]

FULL, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def rounding_like_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrites a half-precision model in float32 with its roundings.

    Args:
        model: Result of `lineside.export.precision.half.to_fp16`; left as it was.

    Returns:
        A model with the same inputs and outputs, functions expanded.
    """
    twin = onnx.ModelProto()
    twin.CopyFrom(inliner.inline_local_functions(model) if model.functions else model)
    graph = twin.graph
    types = element_types(twin)
    for tensor in graph.initializer:
        if tensor.data_type == HALF:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Cast" and FULL in (types.get(node.output[0]), types.get(node.input[0])):
            half = types.get(node.output[0]) == HALF
            if half or types.get(node.input[0]) == HALF:  # what is rounded stays so: nothing to do on the way back
                source = node.input[0]
                nodes += _rounded(source, node.output[0]) if half else [_renamed(source, node.output[0])]
                continue
        results = [(index, name) for index, name in enumerate(node.output) if types.get(name) == HALF]
        for index, name in results:
            node.output[index] = f"{name}/exact"
        nodes.append(node)
        for _, name in results:
            nodes += _rounded(f"{name}/exact", name)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(twin, full_check=True)
    return twin


def _rounded(source: str, target: str) -> list[onnx.NodeProto]:
    """To FP16 and back; onnxruntime leaves casts in place that a graph brings along."""
    half = f"{target}/half"
    return [helper.make_node("Cast", [source], [half], to=HALF), helper.make_node("Cast", [half], [target], to=FULL)]


def _renamed(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [source], [target])
