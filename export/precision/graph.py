"""What every change of precision needs of a graph: plain FP32 weights, element types, names changed everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lineside.export.graph.inside import drop_unused, graphs_in
from lineside.runtime.errors import ExportError

__all__ = ["element_types", "plain_copy", "rename_inputs"]


def plain_copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose weights are float32 initialisers: constants become such, and weights that are stored as FP16.

    Args:
        model: A model of an export, float32 arithmetic; left as it was.

    Returns:
        The copy, without recorded shapes.
    """
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    graph = twin.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    kept, added = [], []
    for node in graph.node:
        if node.op_type == "Constant" and not node.domain:
            added.append(_constant(node))
        elif node.op_type == "Cast" and _stored_half(node, weights):
            values = numpy_helper.to_array(weights[node.input[0]]).astype(np.float32)
            added.append(numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(kept)
    graph.initializer.extend(added)
    drop_unused(graph)
    return twin


def _stored_half(node: onnx.NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    """Whether a Cast makes float32 of weights that are stored as FP16."""
    tensor = weights.get(node.input[0])
    if tensor is None or tensor.data_type != TensorProto.FLOAT16:
        return False
    return any(attribute.name == "to" and attribute.i == TensorProto.FLOAT for attribute in node.attribute)


def _constant(node: onnx.NodeProto) -> TensorProto:
    """The tensor of a Constant."""
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
        return tensor
    kind = np.float32 if attribute.name.startswith("value_float") else np.int64
    if not attribute.name.startswith(("value_float", "value_int")):
        raise ExportError(
            f"the constant '{node.output[0]}' is given as {attribute.name}, which has no other precision: export the "
            "model again, or leave out --precision"
        )
    return numpy_helper.from_array(np.asarray(value, kind), node.output[0])


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor of the main graph.

    Args:
        model: A model, with its functions.

    Raises:
        ExportError: A type cannot be told, or the types contradict each other.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"the element types of the graph contradict each other ({error}): export it again") from error
    found = {tensor.name: int(tensor.data_type) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        found[value.name] = int(value.type.tensor_type.elem_type)
    for node in inferred.node:
        for name in node.output:
            if name and not found.get(name):
                raise ExportError(
                    f"the element type of '{name}', which {node.op_type} makes, cannot be told, so the model has no "
                    "other precision: leave out --precision"
                )
    return found


def rename_inputs(nodes: Iterable[onnx.NodeProto], names: Mapping[str, str]) -> None:
    """Gives tensors other names wherever nodes, and graphs inside of them, read them.

    Args:
        nodes: The nodes, changed in place.
        names: New name by old name.
    """
    for node in nodes:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
        for graph in graphs_in(node):
            own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
            own |= {name for inner in graph.node for name in inner.output}
            rename_inputs(graph.node, {old: new for old, new in names.items() if old not in own})
