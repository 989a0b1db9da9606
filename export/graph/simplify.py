"""Folds constants and drops nodes that do nothing, with onnxslim."""

from __future__ import annotations

import onnx

from lineside.export.graph.aside import put_back, take_aside
from lineside.export.graph.passes import Condition, GraphPass

__all__ = ["SIMPLIFY", "SIMPLIFY_DYNAMIC"]

_LEFTOVERS = frozenset({"Constant", "Identity", "Dropout"})
"""Nodes that a simplified graph cannot hold."""

_OF_SHAPES = frozenset({"Shape"})
"""Nodes that one with static shapes cannot hold either."""


def _slim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Runs onnxslim; once more without the nodes that it does not know, where those hide shapes from it."""
    shapes = {value.name: value for value in model.graph.value_info}
    slim = _slim_once(model)
    if not any(node.op_type in _OF_SHAPES for node in slim.graph.node):
        return slim
    taken = take_aside(slim, shapes)
    return slim if taken is None else put_back(_slim_once(taken[0]), taken[1])


def _slim_once(model: onnx.ModelProto) -> onnx.ModelProto:
    """Runs onnxslim and gives the constants names of ours."""
    import onnxslim

    before = [value.name for value in (*model.graph.input, *model.graph.output)]
    types = [value.type.SerializeToString() for value in model.graph.input]
    slim: onnx.ModelProto = onnxslim.slim(model)
    after = [value.name for value in (*slim.graph.input, *slim.graph.output)]
    if before != after:  # an output that is also an input of another node can lose its name
        raise ValueError(f"inputs and outputs were {before} and are {after}")
    for value, kind in zip(slim.graph.input, types, strict=True):
        value.type.ParseFromString(kind)  # a free side can come back under the name that an inner tensor has for it
    return slim


def _none_left(kinds: frozenset[str]) -> Condition:
    """No node is left that only shapes or constants need."""

    def check(model: onnx.ModelProto) -> str | None:
        left = sorted({node.op_type for node in model.graph.node} & kinds)
        return f"nodes of type {', '.join(left)} are left" if left else None

    return check


SIMPLIFY = GraphPass("simplify", _slim, ensures=_none_left(_LEFTOVERS | _OF_SHAPES))
"""Constant folding, dead nodes, sizes computed at export time."""

SIMPLIFY_DYNAMIC = GraphPass("simplify", _slim, ensures=_none_left(_LEFTOVERS))
"""The same where sizes are known only when the graph runs."""
