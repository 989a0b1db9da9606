"""What TensorRT asks of a quantised graph, checked without TensorRT."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

__all__ = ["tensorrt_faults"]


def tensorrt_faults(model: onnx.ModelProto) -> list[str]:
    """What of a quantised model TensorRT would refuse.

    Args:
        model: A model with explicit pairs.

    Returns:
        A clause for each fault: bytes that are not signed, a zero point that is not 0, whole numbers of 32 bits behind a
        DequantizeLinear.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    faults = []
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        zero = weights.get(node.input[2]) if len(node.input) > 2 else None
        if zero is None or zero.data_type != TensorProto.INT8:
            kind = "missing" if zero is None else TensorProto.DataType.Name(zero.data_type).lower()
            faults.append(f"{node.op_type} '{node.output[0]}': its zero point is {kind}, not int8")
        elif np.any(numpy_helper.to_array(zero)):
            faults.append(f"{node.op_type} '{node.output[0]}': its zero point is not 0")
    return faults
