"""What onnx works out about the tensors of a graph; what the file itself says of those inside is not believed."""

from __future__ import annotations

import onnx

from lineside.export.tails.linear import UnknownTail

__all__ = ["inferred"]


def inferred(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Element types and shapes of the tensors inside a graph, where they can be worked out.

    Args:
        model: A graph with static shapes; left as it was.

    Raises:
        UnknownTail: onnx fails on the graph.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    bare.ir_version = max(bare.ir_version, 4)  # before it onnx looks for weights among the inputs only
    try:
        return list(onnx.shape_inference.infer_shapes(bare, data_prop=True).graph.value_info)
    except Exception as error:  # onnx and protobuf raise what they like
        raise UnknownTail(f"onnx could not work out the shapes of its tensors ({error})") from error
