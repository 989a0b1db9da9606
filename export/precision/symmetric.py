"""The form for TensorRT: signed bytes around zero at the convolutions, all else in float32.

TensorRT takes no zero point but 0, no bias as int32 behind a DequantizeLinear, and moves pairs along a graph by itself;
so a pair stands in front of each convolution and nowhere else. The first convolutions and the head stay
float.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, numpy_helper

from lineside.export.graph.inside import drop_unused
from lineside.export.precision.graph import plain_copy
from lineside.export.precision.keep import Makers, kept_full
from lineside.export.precision.pairs import PairWriter
from lineside.export.precision.ranges import Ranges
from lineside.export.precision.scales import bytes_of_weights, signed_scale
from lineside.runtime.errors import ExportError

__all__ = ["HEAD", "quantised_convolutions", "to_symmetric"]


HEAD = 3
"""Convolutions in front of each output that stay float: those of the head's stacks and of the prototypes."""

STEM = 6
"""Convolutions at the beginning that stay float: what is lost there is carried through all that follows. On the bearing
model their bytes would double the error of boxes and prototypes."""


def quantised_convolutions(graph: onnx.GraphProto, head: int = HEAD) -> set[int]:
    """Places of the convolutions that may be computed in bytes: neither the first nor the last, with constant weights.

    Args:
        graph: A main graph, float32, weights as initialisers.
        head: So many convolutions in front of each output may not.
    """
    makers, names = Makers(graph), {value.name for value in graph.output}
    last: set[int] = set([at for at, node in enumerate(graph.node) if node.op_type == "Conv"][:STEM])
    for _ in range(head):
        ends = makers.back(names)[1]
        last |= ends
        names = {makers.nodes[at].input[0] for at in ends}
    weights = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    full = kept_full(graph, outputs=True)
    return {
        at
        for at, node in enumerate(graph.node)
        if node.op_type == "Conv"
        and not node.domain
        and at not in full | last
        and set(node.input[1:]) - {""} <= weights
    }


def to_symmetric(model: onnx.ModelProto, ranges: Ranges) -> onnx.ModelProto:
    """Quantises a model for TensorRT.

    Args:
        model: A model of an export; left as it was.
        ranges: What its tensors hold.

    Returns:
        The model with pairs.

    Raises:
        ExportError: It has no convolution that can be quantised, or a range is missing.
    """
    twin = plain_copy(model)
    graph = twin.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    chosen = quantised_convolutions(graph)
    if not chosen:
        raise ExportError("no convolution of the model can be computed in INT8: leave out the int8 precisions")
    writer, ready = PairWriter(graph), set[str]()
    for at, node in enumerate(list(graph.node)):
        if at in chosen:
            source = node.input[0]
            node.input[0] = f"{source}/dq"
            if source not in ready:
                ready.add(source)
                writer.pair(source, node.input[0], signed_scale(*found(ranges, source)))
            name = node.input[1]
            if name not in ready:
                ready.add(name)
                writer.stored(f"{name}/dq", *bytes_of_weights(numpy_helper.to_array(weights[name])))
            node.input[1] = f"{name}/dq"
        writer.node(node)
    writer.finish()
    drop_unused(graph)
    onnx.checker.check_model(twin, full_check=True)
    return twin


def found(ranges: Ranges, name: str) -> tuple[float, float]:
    """The range of a tensor.

    Args:
        ranges: Least and greatest value by name.
        name: Name of the tensor.

    Raises:
        ExportError: It has none.
    """
    if name not in ranges:
        raise ExportError(f"the calibration has no range for the tensor '{name}': calibrate with this very model")
    return ranges[name]
