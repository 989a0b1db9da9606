"""Which onnxruntime a graph needs: what its opset, its file format and its operators ask for."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from lineside.export.graph.inside import graphs_in
from lineside.runtime.errors import ExportError

__all__ = ["OLDEST", "oldest_onnxruntime"]

OLDEST = "1.17"
"""The oldest that Lineside supports."""

OF_OPSET = {19: "1.17", 20: "1.17", 21: "1.18", 22: "1.21", 23: "1.23"}
"""First onnxruntime that runs an opset; up to 18 the oldest that Lineside supports does."""

OF_IR = {10: "1.18", 11: "1.23", 12: "1.24"}
"""First onnxruntime that reads a version of the file format; up to 9 the oldest that Lineside supports does."""

OF_OPERATOR = {"DeformConv": "1.25"}
"""First onnxruntime with a kernel for a standard operator, where that is later than its opset.

DeformConv, on x86-64: the wheels 1.17.3, 1.18.1, 1.20.1, 1.23.2 and 1.24.4 have none ("Could not find an implementation");
1.25.0 and every release from there to 1.31.1 agree with a plain computation to 4e-7.
"""


def oldest_onnxruntime(model: onnx.ModelProto) -> str:
    """First onnxruntime that runs a graph.

    Args:
        model: The graph, with its functions.

    Returns:
        Its version, such as ``1.17``.

    Raises:
        ExportError: Opset or file format are newer than any that Lineside knows.
    """
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset > max(OF_OPSET) or model.ir_version > max(OF_IR):
        raise ExportError(
            f"the model has opset {opset} and IR version {model.ir_version}, newer than Lineside knows "
            f"({max(OF_OPSET)} and {max(OF_IR)}): export it with an older opset, such as 18"
        )
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    needed = [OF_OPERATOR.get(node.op_type, OLDEST) for node in _all(nodes) if node.domain in ("", "ai.onnx")]
    needed += [OLDEST, OF_OPSET.get(opset, OLDEST), OF_IR.get(model.ir_version, OLDEST)]
    return max(needed, key=lambda text: tuple(map(int, text.split("."))))


def _all(nodes: list[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes, and those inside of them."""
    for node in nodes:
        yield node
        for graph in graphs_in(node):
            yield from _all(list(graph.node))
