"""What passes ask of a graph: who makes a tensor, who uses it, and what a convolution is set to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from lineside.export.graph.inside import drop_unused

__all__ = ["GraphIndex", "replace_nodes"]

DEFAULTS = {
    "auto_pad": b"NOTSET",
    "dilations": [1, 1],
    "group": 1,
    "output_padding": [0, 0],
    "pads": [0, 0, 0, 0],
    "strides": [1, 1],
}
"""Settings of a convolution that does not state them."""


class GraphIndex:
    """Who makes and who uses each tensor of a graph, as it was when the index was made.

    Args:
        graph: The graph.

    Attributes:
        weights: Constant tensors by name.
        maker: The node that makes a tensor.
        users: The nodes that use a tensor, once for each use.
        outputs: Names of the graph's outputs.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.maker = {name: node for node in graph.node for name in node.output}
        self.outputs = {value.name for value in graph.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)

    def array(self, name: str) -> npt.NDArray[np.float32]:
        """Values of a constant tensor."""
        return numpy_helper.to_array(self.weights[name])

    def is_convolution(self, node: onnx.NodeProto, kind: str, kernel: int, settings: Mapping[str, Any]) -> bool:
        """Whether a node is a convolution with this kernel and these settings, and constant float32 weights and bias."""
        if node.op_type != kind or len(node.input) != 3:
            return False
        tensors = [self.weights.get(name) for name in node.input[1:]]
        if not all(tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT for tensor in tensors):
            return False
        found: dict[str, Any] = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        sides = list(self.weights[node.input[1]].dims[2:])
        wanted = {**DEFAULTS, **settings, "kernel_shape": [kernel, kernel]}
        return sides == [kernel, kernel] and {**DEFAULTS, "kernel_shape": sides, **found} == wanted

    def silu_after(self, node: onnx.NodeProto) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
        """The Sigmoid and the Mul that activate a node's result, when nothing else uses it."""
        users = self.users.get(node.output[0], [])
        if {user.op_type for user in users} != {"Sigmoid", "Mul"} or len(users) != 2 or node.output[0] in self.outputs:
            return None
        sigmoid, product = sorted(users, key=lambda user: user.op_type == "Mul")
        if set(product.input) != {node.output[0], sigmoid.output[0]} or len(self.users[sigmoid.output[0]]) != 1:
            return None
        return sigmoid, product

    def only_user(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The one node that uses a result, or None."""
        users = self.users.get(node.output[0], [])
        return users[0] if len(users) == 1 and node.output[0] not in self.outputs else None


def replace_nodes(target: onnx.GraphProto, old: Sequence[onnx.NodeProto], new: Sequence[onnx.NodeProto]) -> None:
    """Takes nodes out, puts new ones where the last of them was, and drops weights that nobody uses any more.

    Args:
        target: The graph, changed in place.
        old: Nodes of it, the last one last.
        new: Nodes that make all that the rest of the graph needs of them, in an order that can be executed.
    """
    gone = {node.output[0] for node in old}
    kept: list[onnx.NodeProto] = []
    for node in target.node:
        if node.output[0] == old[-1].output[0]:
            kept += new
        elif node.output[0] not in gone:
            kept.append(node)
    del target.node[:]
    target.node.extend(kept)
    drop_unused(target)
