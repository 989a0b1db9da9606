"""Convolves before enlarging where that is the same: less arithmetic, and no copy to join the parts.

The neck of a YOLO model enlarges a feature map (nearest neighbour), joins it with another one channel by channel, and
mixes the channels with a 1x1 convolution. A 1x1 convolution works on each pixel by itself, so it can run before the
enlarging, on a quarter of the pixels; and a convolution of joined maps is the sum of convolutions of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lineside.export.graph.index import GraphIndex, replace_nodes
from lineside.export.graph.passes import GraphPass

__all__ = ["FOLD_UPSAMPLING"]


@dataclass(frozen=True)
class _Junction:
    """An enlarged map and another one, joined and mixed."""

    enlarge: onnx.NodeProto  # Resize
    join: onnx.NodeProto  # Concat of two
    mix: onnx.NodeProto  # the 1x1 convolution
    first: int  # channels of the first joined map


def _enlarges(graph: GraphIndex, node: onnx.NodeProto) -> bool:
    """Whether a node repeats pixels, and so commutes with whatever works pixel by pixel."""
    if node.op_type != "Resize" or len(node.input) != 3 or node.input[1]:
        return False
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if settings.get("mode", b"nearest") != b"nearest" or "axes" in settings or node.input[2] not in graph.weights:
        return False
    scales = graph.array(node.input[2])
    return scales.shape == (4,) and scales[0] == scales[1] == 1 and bool((scales[2:] >= 1).all())


def _junction_of(graph: GraphIndex, join: onnx.NodeProto, channels: dict[str, int]) -> _Junction | None:
    """The junction around a Concat, or None where the graph is built otherwise."""
    axis = next((attribute.i for attribute in join.attribute if attribute.name == "axis"), None)
    if len(join.input) != 2 or axis != 1 or join.input[0] == join.input[1]:
        return None
    mix = graph.only_user(join)
    if mix is None or not graph.is_convolution(mix, "Conv", 1, {}):
        return None
    first = channels.get(join.input[0])
    for name in join.input:
        enlarge = graph.maker.get(name)
        if first and enlarge is not None and _enlarges(graph, enlarge) and graph.only_user(enlarge) is join:
            return _Junction(enlarge, join, mix, first)
    return None


def _fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrites every junction that is built as described; leaves all others as they are."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    channels = {}
    for value in (*inferred.value_info, *inferred.input):
        sides = value.type.tensor_type.shape.dim
        if len(sides) == 4:
            channels[value.name] = sides[1].dim_value
    for join in [node for node in model.graph.node if node.op_type == "Concat"]:
        graph = GraphIndex(model.graph)
        junction = _junction_of(graph, join, channels)
        if junction is not None:
            _rewrite(model.graph, graph, junction)
    return model


def _rewrite(target: onnx.GraphProto, graph: GraphIndex, junction: _Junction) -> None:
    """Puts two small convolutions and a sum in the place of a junction; the bias stays with the map of full size."""
    enlarge, mix, name = junction.enlarge, junction.mix, junction.mix.output[0]
    parts = np.split(graph.array(mix.input[1]), [junction.first], axis=1)
    nodes, terms = [], []
    for source, weights in zip(junction.join.input, parts, strict=True):
        small = source == enlarge.output[0]
        part = f"{name}_{'small' if small else 'full'}"
        target.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weights), f"{part}_weight"))
        inputs = [enlarge.input[0] if small else source, f"{part}_weight", *([] if small else [mix.input[2]])]
        nodes.append(helper.make_node("Conv", inputs, [part], name=part, kernel_shape=[1, 1]))
        if small:
            again = onnx.NodeProto()
            again.CopyFrom(enlarge)
            again.name = part = f"{part}_enlarged"
            again.input[0], again.output[0] = nodes[-1].output[0], part
            nodes.append(again)
        terms.append(part)
    nodes.append(helper.make_node("Add", terms, [name], name=name))
    replace_nodes(target, (enlarge, junction.join, mix), nodes)


FOLD_UPSAMPLING = GraphPass("fold the upsampling of the neck", _fold)
"""Equal up to the rounding of float32; a graph without such a junction stays as it is."""
