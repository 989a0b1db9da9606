"""Writes pairs of QuantizeLinear and DequantizeLinear into a graph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from lineside.export.precision.scales import Scale

__all__ = ["PairWriter"]


class PairWriter:
    """Collects the nodes of a new graph, and the constants of its pairs.

    Args:
        graph: The graph that gets them.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._nodes: list[onnx.NodeProto] = []
        self._constants: set[str] = set()

    def node(self, node: onnx.NodeProto) -> None:
        """Writes a node."""
        self._nodes.append(node)

    def pair(self, source: str, target: str, scale: Scale) -> None:
        """Writes a pair: bytes of a tensor, and a float32 tensor of them.

        Args:
            source: Name of the float32 tensor.
            target: Name of what comes out of the pair.
            scale: What a byte means.
        """
        step = self.constant(f"{target}/scale", np.float32(scale.scale))
        zero = self.constant(f"{target}/zero", (np.int8 if scale.signed else np.uint8)(scale.zero))
        quantised = f"{target}/bytes"
        self._nodes.append(helper.make_node("QuantizeLinear", [source, step, zero], [quantised], name=f"{target}/q"))
        self._nodes.append(helper.make_node("DequantizeLinear", [quantised, step, zero], [target], name=f"{target}/dq"))

    def stored(self, name: str, values: npt.NDArray[np.generic], scales: npt.NDArray[np.float32]) -> str:
        """Writes whole numbers with a scale for each entry of their first axis.

        Args:
            name: Name of the float32 tensor that they stand for.
            values: int8 or int32.
            scales: ``(len(values),)``.

        Returns:
            The name.
        """
        inputs = [
            self.constant(f"{name}/bytes", values),
            self.constant(f"{name}/scale", scales),
            self.constant(f"{name}/zero", np.zeros(len(scales), values.dtype)),
        ]
        self._nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}/dq", axis=0))
        return name

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        """Adds a constant tensor, once.

        Args:
            name: Its name; where there is one of that name, nothing is added.
            value: Its values, in their element type.

        Returns:
            The name.
        """
        if name not in self._constants:
            self._constants.add(name)
            self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def finish(self) -> None:
        """Puts the nodes into the graph."""
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
