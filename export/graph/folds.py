"""The passes that make a graph cheaper and leave its function as it is."""

from __future__ import annotations

import onnx

from lineside.export.graph.passes import run_passes
from lineside.export.graph.subpixel import FOLD_DOUBLING
from lineside.export.graph.upsampled import FOLD_UPSAMPLING

__all__ = ["FOLDS", "folded"]

FOLDS = (FOLD_DOUBLING, FOLD_UPSAMPLING)
"""All of them; each leaves alone what is not built as it expects."""

OLDEST_OPSET = 11
"""First opset that has all that a folded graph is made of."""


def folded(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Folds a foreign graph.

    Args:
        model: The graph; may be changed in place.

    Returns:
        The graph, and the names of the passes that found something.

    Raises:
        ExportError: A pass failed.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    opset = next((entry.version for entry in model.opset_import if entry.domain == ""), 0)
    if opset < OLDEST_OPSET or weights.intersection(value.name for value in model.graph.input):
        return model, ()  # weights that a caller may replace are no constants
    model, records = run_passes(model, FOLDS)
    return model, tuple(record.name for record in records if record.nodes_before != record.nodes_after)
