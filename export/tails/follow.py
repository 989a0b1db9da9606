"""Walks back from an output to the head tensors, and forward again with what every element means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from lineside.export.graph.finish import tensor_shapes
from lineside.export.tails.infer import inferred
from lineside.export.tails.linear import Linear, UnknownTail
from lineside.export.tails.operators import OPERATORS, HeadTensors, Value

__all__ = ["follow"]

CONSTANTS = (frozenset(OPERATORS) - {"Conv", "Softmax"}) | {
    "Constant",
    "ConstantOfShape",
    "Equal",
    "Floor",
    "Mod",
    "Neg",
    "Pow",
    "Range",
    "Where",
}
"""Operators that may compute a size or an anchor from numbers in the file."""

KNOWN = frozenset(OPERATORS) | CONSTANTS

OLDEST_OPSET = 7
"""Before it, arithmetic lined its tensors up by an attribute."""

MOST_NODES = 2000
"""A tail has dozens of nodes, some hundreds where shapes are computed in the graph."""


def follow(model: onnx.ModelProto, output: str, grids: Sequence[tuple[int, int]]) -> tuple[Value, HeadTensors]:
    """Works out what every element of an output is.

    Args:
        model: A graph with static shapes that an engine accepted.
        output: Name of the output.
        grids: Rows and columns of the levels: a four-axis tensor of such a size that no tail operator made is a head
            tensor, and so is the output of every convolution of such a size.

    Returns:
        The output's elements, and the head tensors that they are made of.

    Raises:
        UnknownTail: An operator, or a use of one, that is not known in a tail.
    """
    makers = {name: node for node in model.graph.node for name in node.output if name}
    known: dict[str, Value] = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name  # weights of the body are only views of the file's bytes
    }
    shapes = _static_shapes(model)
    opset = {entry.domain: entry.version for entry in model.opset_import}.get("", 0)
    if opset < OLDEST_OPSET:
        raise UnknownTail(f"it has opset {opset}, and operators of before opset {OLDEST_OPSET} are not known")
    tensors = HeadTensors()
    path = _path(output, makers, known, shapes, grids)
    for node in path:
        if _is_head(node, shapes, grids):
            name = node.output[0]
            known[name] = tensors.add(name, shapes[name])
            continue
        inputs = [known[name] if name else None for name in node.input]
        attributes: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        results = _apply(node, inputs, attributes | {"opset": opset, "outputs": len(node.output)}, tensors, opset)
        if len(results) != len(node.output):
            raise UnknownTail(
                f"a {node.op_type} in it has {len(node.output)} outputs, and {len(results)} were expected"
            )
        known.update(zip(node.output, results, strict=True))
    return known[output], tensors


def _apply(
    node: onnx.NodeProto,
    inputs: Sequence[Value | None],
    attributes: Mapping[str, Any],
    tensors: HeadTensors,
    opset: int,
) -> list[Value]:
    """Outputs of one node of the tail."""
    try:
        if any(isinstance(value, Linear) for value in inputs):
            if node.op_type not in OPERATORS:
                raise UnknownTail(f"it holds a {node.op_type} of numbers that depend on the picture")
            return OPERATORS[node.op_type](inputs, attributes, tensors)
        if node.op_type not in CONSTANTS:
            raise UnknownTail(f"it holds a {node.op_type} of fixed numbers")
        feeds = {name: value for name, value in zip(node.input, inputs, strict=True) if name}
        imports = [helper.make_opsetid("", opset)]
        graph = helper.make_graph(
            [node],
            "constant",
            [helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(feeds)],
            [helper.make_empty_tensor_value_info(name) for name in node.output],
        )
        found: list[Value] = ReferenceEvaluator(helper.make_model(graph, opset_imports=imports)).run(None, feeds)  # type: ignore[assignment]
        return [np.asarray(value) for value in found]
    except UnknownTail:
        raise
    except Exception as error:  # numpy and onnx raise what they like about shapes that do not fit
        raise UnknownTail(f"a {node.op_type} in it could not be followed ({error})") from error


def _path(
    output: str,
    makers: Mapping[str, onnx.NodeProto],
    known: Mapping[str, Value],
    shapes: Mapping[str, tuple[int, ...]],
    grids: Sequence[tuple[int, int]],
) -> list[onnx.NodeProto]:
    """Nodes between the head tensors and an output, each after those it needs; those of the head tensors included."""
    path: dict[str, onnx.NodeProto] = {}
    waiting: set[str] = set()
    stack = [output]
    while stack:
        name = stack[-1]
        node = makers.get(name)
        if not name or name in known or (node is not None and node.output[0] in path):
            stack.pop()
            continue
        if node is None:
            raise UnknownTail(f"it uses the tensor '{name}' of the input without a head between")
        key = node.output[0]
        head = _is_head(node, shapes, grids)
        if head and name != key:
            raise UnknownTail(f"it uses a further output of a {node.op_type} in the body")
        if not head and (node.domain or node.op_type not in KNOWN):
            raise UnknownTail(f"it holds a {node.op_type}, which is not part of any tail that is known")
        if head or key in waiting:
            path[key] = node
            stack.pop()
            continue
        waiting.add(key)
        stack += [other for other in node.input if other]
        if len(waiting) > MOST_NODES:
            raise UnknownTail(f"it has more than {MOST_NODES} nodes")
    return list(path.values())


def _is_head(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]], grids: Sequence[tuple[int, int]]) -> bool:
    """The node makes a head tensor."""
    shape = shapes.get(node.output[0], ())
    on_grid = len(shape) == 4 and shape[2:] in grids
    return on_grid and (node.op_type == "Conv" or node.op_type not in OPERATORS)


def _static_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Static shapes of all tensors for which onnx finds one."""
    found = {}
    for name, shape in tensor_shapes(inferred(model)).items():
        sides = tuple(side for side in shape if isinstance(side, int))
        if len(sides) == len(shape):
            found[name] = sides
    return found
