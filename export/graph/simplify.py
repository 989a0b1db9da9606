"""Folds constants and drops nodes that do nothing, with onnxslim."""

from __future__ import annotations

import onnx

from lineside.export.graph.passes import GraphPass

__all__ = ["SIMPLIFY"]

_LEFTOVERS = frozenset({"Constant", "Identity", "Shape", "Dropout"})
"""Nodes that a simplified graph with static shapes cannot hold."""


def _slim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Runs onnxslim and gives the constants names of ours."""
    import onnxslim

    before = [value.name for value in (*model.graph.input, *model.graph.output)]
    slim: onnx.ModelProto = onnxslim.slim(model)
    after = [value.name for value in (*slim.graph.input, *slim.graph.output)]
    if before != after:  # an output that is also an input of another node can lose its name
        raise ValueError(f"inputs and outputs were {before} and are {after}")
    return slim


def _none_left(model: onnx.ModelProto) -> str | None:
    """No node is left that only shapes or constants need."""
    left = sorted({node.op_type for node in model.graph.node} & _LEFTOVERS)
    return f"nodes of type {', '.join(left)} are left" if left else None


SIMPLIFY = GraphPass("simplify", _slim, ensures=_none_left)
"""Constant folding, dead nodes, sizes computed at export time."""
