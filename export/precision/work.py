"""How much of its convolutions' work a graph asks an engine to do in another precision than float32."""

from __future__ import annotations

import math

import onnx
from onnx import TensorProto, inliner

from lineside.export.precision.graph import element_types

__all__ = ["asked_share"]

CONVOLUTIONS = ("Conv", "ConvTranspose")


def asked_share(model: onnx.ModelProto, size: tuple[int, int]) -> float | None:
    """Share of the multiplications of all convolutions that a graph asks for in FP16 or INT8.

    A convolution asks for INT8 where a DequantizeLinear stands in front of both its data and its weights, and for FP16
    where its data are FP16. Its work is weights times places, as the audit of an engine counts it.

    Args:
        model: A variant as it ships; left as it was.
        size: Height and width of the input, px, for a model that takes several.

    Returns:
        From 0 to 1; None where there is no convolution whose work can be told.
    """
    flat = onnx.ModelProto()
    flat.CopyFrom(inliner.inline_local_functions(model) if model.functions else model)
    sides = flat.graph.input[0].type.tensor_type.shape.dim
    for side, value in zip(sides, (1, 3, *size), strict=True):
        if side.dim_value < 1:
            side.dim_value = value
    del flat.graph.value_info[:]
    for value in flat.graph.output:  # those of a model with free sides would be said to be free again
        value.type.tensor_type.ClearField("shape")
    shapes = _shapes(onnx.shape_inference.infer_shapes(flat, data_prop=True).graph)
    types = element_types(flat)
    makers = {name: node.op_type for node in flat.graph.node for name in node.output}
    asked = total = 0
    for node in flat.graph.node:
        places = shapes.get(node.output[0] if node.op_type == "Conv" else node.input[0], ())
        weights = shapes.get(node.input[1], ()) if node.op_type in CONVOLUTIONS else ()
        if node.domain or not places or not weights or not all((*places, *weights)):
            continue
        work = math.prod(weights) * math.prod(places[2:])
        total += work
        whole = all(makers.get(name) == "DequantizeLinear" for name in node.input[:2])
        asked += work if whole or types[node.input[0]] == TensorProto.FLOAT16 else 0
    return round(asked / total, 4) if total else None


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor, 0 for a side that is not known."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            shapes[value.name] = tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
    return shapes
