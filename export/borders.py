"""Gives a foreign graph the borders that the runtime feeds and reads: float32 in, float32 out, detections first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lineside.export.graph.inside import graphs_in

__all__ = ["float_borders"]

CASTABLE = {TensorProto.FLOAT16: "float16", TensorProto.DOUBLE: "double", TensorProto.BFLOAT16: "bfloat16"}
"""Element types that a Cast at the border turns into float32 and back."""


def float_borders(model: onnx.ModelProto) -> list[str]:
    """Wraps inputs and outputs of other types, in place.

    An input of whole numbers that the graph does not divide by 255 itself stays as it is: its scale is not known.

    Args:
        model: A foreign model.

    Returns:
        What was done, one clause each; nothing for a model that takes and gives float32.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    done = []
    for value in model.graph.input:
        kind = value.type.tensor_type.elem_type
        if value.name in weights or kind == TensorProto.FLOAT:
            continue
        if kind in CASTABLE:
            _before(model, value.name, [helper.make_node("Cast", [value.name], [_own(value.name)], to=kind)])
            done.append(f"the input is {CASTABLE[kind]} and is given a Cast from float32")
        elif kind == TensorProto.UINT8 and _divides_by_255(model.graph, value.name):
            _before(model, value.name, _to_bytes(model, value.name))
            done.append("the input is uint8, divided by 255 in the graph, and is given a conversion from 0..1")
        else:
            continue  # refused where the contract is read
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    for value in model.graph.output:
        kind = value.type.tensor_type.elem_type
        if kind in CASTABLE:
            inner = f"{value.name}_as_{CASTABLE[kind]}"
            for node in model.graph.node:
                _rename(node, value.name, inner)
            model.graph.node.append(helper.make_node("Cast", [inner], [value.name], to=TensorProto.FLOAT))
            value.type.tensor_type.elem_type = TensorProto.FLOAT
            done.append(f"the output {value.name} is {CASTABLE[kind]} and is given a Cast to float32")
    ranks = [len(value.type.tensor_type.shape.dim) for value in model.graph.output]
    if ranks == [4, 3]:
        outputs = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in model.graph.output]
        del model.graph.output[:]
        model.graph.output.extend(outputs[::-1])
        done.append("its prototypes come before its detections, and are put behind them")
    return done


def _before(model: onnx.ModelProto, name: str, nodes: list[onnx.NodeProto]) -> None:
    """Puts nodes from an input to the tensor `_own` behind it: what used the one uses the other."""
    for node in model.graph.node:
        _rename(node, name, _own(name))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def _own(name: str) -> str:
    """Name for an input in the type that the graph itself takes."""
    return f"{name}_own"


def _rename(node: onnx.NodeProto, old: str, new: str) -> None:
    """Renames a tensor in a node and in the graphs inside it."""
    for field in (node.input, node.output):
        field[:] = [new if name == old else name for name in field]
    for graph in graphs_in(node):
        for inner in graph.node:
            _rename(inner, old, new)


def _to_bytes(model: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
    """From 0..1 to 0..255, rounded."""
    scale, half = f"{name}_255", f"{name}_half"
    model.graph.initializer.append(numpy_helper.from_array(np.array(255, np.float32), scale))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), half))
    return [
        helper.make_node("Mul", [name, scale], [f"{name}_scaled"]),
        helper.make_node("Add", [f"{name}_scaled", half], [f"{name}_shifted"]),
        helper.make_node("Floor", [f"{name}_shifted"], [f"{name}_whole"]),
        helper.make_node("Cast", [f"{name}_whole"], [_own(name)], to=TensorProto.UINT8),
    ]


def _divides_by_255(graph: onnx.GraphProto, name: str) -> bool:
    """Every use of the tensor is a Cast to floats, and every use of that a division by 255."""
    numbers = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            numbers[node.output[0]] = node.attribute[0].t
    casts = list(_users(graph, name))
    if not casts or any(node.op_type != "Cast" for node in casts):
        return False
    divisions = [node for cast in casts for node in _users(graph, cast.output[0])]
    return bool(divisions) and all(_is_division(node, numbers) for node in divisions)


def _users(graph: onnx.GraphProto, name: str) -> Iterator[onnx.NodeProto]:
    return (node for node in graph.node if name in node.input)


def _is_division(node: onnx.NodeProto, numbers: dict[str, onnx.TensorProto]) -> bool:
    tensor = numbers.get(node.input[1]) if len(node.input) == 2 else None
    if tensor is None or node.op_type not in ("Div", "Mul"):
        return False
    value = numpy_helper.to_array(tensor).astype(np.float64).ravel()
    wanted = 255.0 if node.op_type == "Div" else 1 / 255
    return value.size == 1 and bool(np.isclose(value[0], wanted, rtol=1e-3))
