"""Stores weights as FP16 and casts them to FP32 where they are used: half the file, the same arithmetic."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from lineside.export.cut import FP16_MIN_ELEMENTS
from lineside.export.graph.passes import GraphPass

__all__ = ["STORE_HALF"]

_SUFFIX = "_fp16"


def _fits(values: npt.NDArray[np.float32]) -> bool:
    """Every value is an FP16 number already, so that storing it as one loses nothing."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float16).astype(np.float32), values))


def _store(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replaces each float32 initialiser that fits by an FP16 one and a Cast."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims, dtype=np.int64) < FP16_MIN_ELEMENTS:
            continue
        values = numpy_helper.to_array(tensor)
        if not _fits(values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + _SUFFIX))
        casts.append(helper.make_node("Cast", [name + _SUFFIX], [name], name=f"{name}_to_fp32", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _mostly_half(model: onnx.ModelProto) -> str | None:
    """At least half of the elements of all weights are stored as FP16."""
    sizes = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for tensor in model.graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += int(np.prod(tensor.dims, dtype=np.int64))
    half, full = sizes[TensorProto.FLOAT16], sizes[TensorProto.FLOAT]
    if half >= full:
        return None
    return f"only {half} of {half + full} weights are exact in FP16; round the model before it is traced"


STORE_HALF = GraphPass("store FP16", _store, ensures=_mostly_half)
"""Lossless: only weights that are FP16 numbers already are stored as such; see `lineside.export.cut.rounded_to_fp16`."""
