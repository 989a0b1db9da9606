"""Writes a model in FP16: every tensor has one type, every change of it is a Cast, inputs and outputs stay float32."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lineside.export.graph.inside import captured, drop_unused
from lineside.export.ops.op import DOMAIN
from lineside.export.precision.bodies import halve_bodies
from lineside.export.precision.graph import element_types, plain_copy, rename_inputs
from lineside.export.precision.keep import OUTPUTS, half_inputs, half_outputs, kept_full
from lineside.export.precision.ranges import Ranges

__all__ = ["LARGEST", "to_fp16"]

FULL, HALF = TensorProto.FLOAT, TensorProto.FLOAT16

LARGEST = 16384.0
"""Values beyond a quarter of what FP16 holds keep FP32: other pictures may have larger ones."""

FLOAT_SLOTS = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that are float32 whatever the data are."""

UNTYPED = frozenset({"Shape", "Size", "Cast", "IsNaN", "IsInf"})
"""Operators that take any type and hand none on."""


def to_fp16(model: onnx.ModelProto, ranges: Ranges | None = None, outputs: bool = OUTPUTS) -> onnx.ModelProto:
    """Turns a float32 model into one of mixed precision.

    Args:
        model: A model of an export; left as it was. Weights may be stored as FP16.
        ranges: What its tensors hold for some pictures; nodes with values that FP16 hardly holds keep FP32.
        outputs: Whether the convolutions that make the outputs keep FP32.

    Returns:
        The model in FP16 but for what `lineside.export.precision.keep` names.

    Raises:
        ExportError: The element type of a tensor cannot be told.
    """
    twin = plain_copy(model)
    types = element_types(twin)
    full = kept_full(twin.graph, outputs)
    full |= _too_large(twin.graph, ranges)
    writer = _Writer(twin.graph, types)
    for at, node in enumerate(list(twin.graph.node)):
        writer.add(node, at in full)
    writer.finish()
    halve_bodies(twin)
    onnx.checker.check_model(twin, full_check=True)
    return twin


def _too_large(graph: onnx.GraphProto, ranges: Ranges | None) -> set[int]:
    """Places of nodes whose weights or values FP16 does not hold."""
    weights = {
        tensor.name
        for tensor in graph.initializer
        if tensor.data_type == FULL and float(np.abs(numpy_helper.to_array(tensor)).max(initial=0)) > LARGEST
    }
    seen = {} if ranges is None else ranges
    large = weights | {name for name, (low, high) in seen.items() if max(-low, high) > LARGEST}
    return {at for at, node in enumerate(graph.node) if large.intersection((*node.input, *node.output))}


class _Writer:
    """Writes nodes one after the other and casts between them."""

    def __init__(self, graph: onnx.GraphProto, types: dict[str, int]) -> None:
        self._graph = graph
        self._floats = {name for name, kind in types.items() if kind == FULL}
        self._weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == FULL}
        self._kind = dict.fromkeys(self._floats, FULL)
        self._named: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._outputs = {value.name for value in graph.output}

    def add(self, node: onnx.NodeProto, full: bool) -> None:
        """Writes a node, and the casts in front of it."""
        wanted = self._inputs(node, full)
        floats = [kind for index, kind in wanted.items() if index not in FLOAT_SLOTS.get(node.op_type, ())]
        for index, kind in wanted.items():
            node.input[index] = self._as(node.input[index], kind)
        inner = self._floats.intersection(captured(node))
        rename_inputs([node], {name: self._as(name, FULL) for name in inner})
        self._nodes.append(node)
        for index, name in enumerate(node.output):
            if name in self._floats:
                self._made(node, index, floats)

    def _inputs(self, node: onnx.NodeProto, full: bool) -> dict[int, int]:
        """The type that each float input must have."""
        at = [index for index, name in enumerate(node.input) if name in self._floats]
        if node.op_type in UNTYPED and not node.domain:
            return {}
        ours = half_inputs(node)
        if full:
            return dict.fromkeys(at, FULL)
        if ours is not None:
            return {index: HALF if index in ours else FULL for index in at}
        always = FLOAT_SLOTS.get(node.op_type, ())
        return {index: FULL if index in always else HALF for index in at}

    def _made(self, node: onnx.NodeProto, index: int, floats: list[int]) -> None:
        """Notes the type of what a node makes; an output of the graph gets its Cast at once."""
        if HALF not in floats or (node.domain == DOMAIN and index not in half_outputs(node)):
            return
        name = node.output[index]
        if name in self._outputs:
            node.output[index] = f"{name}/fp16"
            self._nodes.append(_cast(node.output[index], name, FULL))
            self._named[name, HALF] = node.output[index]
            return
        self._kind[name] = HALF

    def _as(self, name: str, kind: int) -> str:
        """Name of a tensor in a type; what is missing is written."""
        if self._kind[name] == kind and name not in self._weights:
            return name
        known = self._named.get((name, kind))
        if known is not None:
            return known
        new = name if self._kind[name] == kind else f"{name}/{'fp16' if kind == HALF else 'fp32'}"
        self._named[name, kind] = new
        if name in self._weights:
            if new != name:
                half = numpy_helper.to_array(self._weights[name]).astype(np.float16)
                self._graph.initializer.append(numpy_helper.from_array(half, new))
        else:
            self._nodes.append(_cast(name, new, kind))
        return new

    def finish(self) -> None:
        """Puts the nodes into the graph."""
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        drop_unused(self._graph)


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}/cast", to=kind)
