"""The form for processors: unsigned bytes wherever bytes can flow from convolution to convolution.

onnxruntime runs unsigned activations with signed weights two to three times faster than signed with signed, and
convolutions alone gain nothing, since what stands between them would turn bytes into floats and back; so activations,
sums, joints and movements are quantised too. The first convolutions and the head stay float.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from lineside.export.graph.index import GraphIndex
from lineside.export.graph.inside import drop_unused
from lineside.export.precision.graph import element_types, plain_copy
from lineside.export.precision.keep import kept_full
from lineside.export.precision.pairs import PairWriter
from lineside.export.precision.ranges import Ranges
from lineside.export.precision.scales import Scale, bytes_of_weights, unsigned_scale
from lineside.export.precision.symmetric import found, quantised_convolutions
from lineside.runtime.errors import ExportError

__all__ = ["WEIGHTS", "to_asymmetric"]

WEIGHTS = 64
"""Greatest byte of a weight. Processors without VNNI add two products in 16 bits, which 255 * 127 * 2 does not fit: on one
with AVX2 alone the prototypes of the bearing model came out at a cosine of 0.976 with bytes to 127, at 0.995 with these."""

MOVING = frozenset(
    {"MaxPool", "Resize", "Slice", "Split", "Reshape", "Transpose", "DepthToSpace", "Squeeze", "Unsqueeze"}
)
"""Operators whose results are values of their input: bytes mean the same behind them."""

COUNTING = frozenset({"Sigmoid", "Mul", "Add", "Concat", "Relu", "LeakyRelu", "HardSwish"})
"""Operators between convolutions that have kernels for bytes."""

SIGMOID = Scale(1 / 256, 0, False)

FLOOR = -6.0
"""What is less in front of ``x * sigmoid(x)`` may as well be this: the result is within 0.015 of zero, and what is told
apart down there is lost above. With it the prototypes of the bearing model are off by 13 instead of 21 percent."""


def to_asymmetric(model: onnx.ModelProto, ranges: Ranges, most: int = WEIGHTS) -> onnx.ModelProto:
    """Quantises a model for processors.

    Args:
        model: A model of an export; left as it was.
        ranges: What its tensors hold.
        most: Greatest byte of a weight.

    Returns:
        The model with pairs.

    Raises:
        ExportError: It has no convolution that can be quantised, or a range is missing.
    """
    twin = plain_copy(model)
    plan = _Plan(twin, ranges)
    weights = {tensor.name: tensor for tensor in twin.graph.initializer}
    writer = PairWriter(twin.graph)
    outputs = {value.name for value in twin.graph.output}
    for value in twin.graph.input:
        if value.name in plan.scales:
            writer.pair(value.name, f"{value.name}/dq", plan.scales[value.name])
    for at, node in enumerate(list(twin.graph.node)):
        inside = at in plan.nodes
        for index, name in enumerate(node.input):
            if name in plan.scales and (inside or name in plan.made):
                node.input[index] = f"{name}/dq"
        if inside and node.op_type == "Conv":
            _weights(node, weights, plan, writer, most)
        made = [name for name in node.output if name in plan.scales]
        exact = {name: f"{name}/exact" for name in made if name in outputs}
        for index, name in enumerate(node.output):
            node.output[index] = exact.get(name, name)
        writer.node(node)
        for name in made:
            writer.pair(exact.get(name, name), name if name in exact else f"{name}/dq", plan.scales[name])
    writer.finish()
    drop_unused(twin.graph)
    onnx.checker.check_model(twin, full_check=True)
    return twin


def _weights(node: onnx.NodeProto, weights: dict[str, TensorProto], plan: _Plan, writer: PairWriter, most: int) -> None:
    """Gives a convolution weights in bytes and a bias in steps of what it sums up."""
    values, scales = bytes_of_weights(numpy_helper.to_array(weights[node.input[1]]), most)
    label = node.output[0]
    node.input[1] = writer.stored(f"{label}/weight", values, scales)
    if len(node.input) > 2 and node.input[2]:
        steps = (scales.astype(np.float64) * plan.scales[node.input[0].removesuffix("/dq")].scale).astype(np.float32)
        bias = np.rint(numpy_helper.to_array(weights[node.input[2]]) / steps.astype(np.float64))
        limit = np.iinfo(np.int32)
        node.input[2] = writer.stored(f"{label}/bias", np.clip(bias, limit.min, limit.max).astype(np.int32), steps)


class _Plan:
    """Which nodes are computed in bytes, and what the bytes of each tensor mean.

    Attributes:
        nodes: Places of the nodes.
        made: Tensors that one of them makes.
        scales: By tensor.
    """

    def __init__(self, model: onnx.ModelProto, ranges: Ranges) -> None:
        graph = model.graph
        kinds = element_types(model)
        weights = {tensor.name for tensor in graph.initializer}
        self._floats = {name for name, kind in kinds.items() if kind == TensorProto.FLOAT} - weights
        self._weights = weights
        self.nodes = quantised_convolutions(graph)
        if not self.nodes:
            raise ExportError("no convolution of the model can be computed in INT8: leave out the int8 precisions")
        self.made: set[str] = set()
        full = kept_full(graph, outputs=True)
        for at, node in enumerate(graph.node):
            if at in self.nodes or (at not in full and self._joins(node)):
                self.nodes.add(at)
                self.made.update(name for name in node.output if name in self._floats)
        self.scales: dict[str, Scale] = {}
        ranges = {**ranges, **_floored(graph, ranges)}
        for at, node in enumerate(graph.node):
            if at in self.nodes:
                self._scale(node, ranges)

    def _joins(self, node: onnx.NodeProto) -> bool:
        """Whether a node goes on in bytes: all that it computes with is made of bytes."""
        if node.domain or node.op_type not in MOVING | COUNTING:
            return False
        if node.op_type == "Resize" and not _nearest(node):
            return False
        given = list(node.input[:1]) if node.op_type in MOVING else list(node.input)
        return all(name in self.made for name in given)

    def _scale(self, node: onnx.NodeProto, ranges: Ranges) -> None:
        """What the bytes around a node mean."""
        for name in node.input:
            if name in self._floats and name not in self.scales:
                self.scales[name] = unsigned_scale(*found(ranges, name))
        for name in node.output:
            if name not in self._floats:
                continue
            if node.op_type in MOVING:
                self.scales[name] = self.scales[node.input[0]]
            elif node.op_type == "Sigmoid":
                self.scales[name] = SIGMOID
            else:
                self.scales[name] = unsigned_scale(*found(ranges, name))


def _floored(graph: onnx.GraphProto, ranges: Ranges) -> dict[str, tuple[float, float]]:
    """Ranges of the tensors that go into ``x * sigmoid(x)`` and nowhere else."""
    index = GraphIndex(graph)
    found = [node.output[0] for node in graph.node if node.output and index.silu_after(node) is not None]
    return {name: (max(ranges[name][0], FLOOR), max(ranges[name][1], 0.0)) for name in found if name in ranges}


def _nearest(node: onnx.NodeProto) -> bool:
    """Whether a Resize takes values as they are."""
    return any(attribute.name == "mode" and attribute.s == b"nearest" for attribute in node.attribute)
