"""Writes the body of a function node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from lineside.export.ops.op import DOMAIN, PLUGIN, CustomOp

__all__ = ["OPSET", "Body"]

OPSET = 18
"""Opset of the standard operators in a body; that of the graphs that `lineside.export.trace` writes."""

OUTSIDE = 3.0
"""Beyond a map in the units of GridSample, where a map goes from -1 to 1 and a pixel has at most the length 2."""


class Body:
    """A function in the making; its inputs and outputs have the names that the operator gives them.

    Args:
        op: The operator that it computes.
    """

    def __init__(self, op: CustomOp) -> None:
        self._op = op
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Adds a node with one output.

        Args:
            kind: Standard operator.
            inputs: Names of its inputs; empty for one left out.
            output: Name of its output; a new one when None.
            attributes: Its attributes.

        Returns:
            Name of its output.
        """
        return self.nodes(kind, *inputs, outputs=[output or f"v{len(self._nodes)}"], **attributes)[0]

    def nodes(self, kind: str, *inputs: str, outputs: list[str] | int, **attributes: Any) -> list[str]:
        """Adds a node with several outputs: their names, or how many there are."""
        if isinstance(outputs, int):
            outputs = [f"v{len(self._nodes)}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Name of a tensor with these values; equal ones are written once."""
        array = np.asarray(value, dtype)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.node("Constant", value=numpy_helper.from_array(array))
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """Name of a one-dimensional int64 tensor, such as a shape."""
        return self.constant(list(values), np.int64)

    def floats(self, *values: float) -> str:
        """Name of a one-dimensional float32 tensor; of one element it multiplies with any shape."""
        return self.constant(list(values), np.float32)

    def sides(self, tensor: str, first: int, last: int) -> str:
        """Name of a one-dimensional int64 tensor with the sides ``first`` to ``last - 1`` of another tensor."""
        return self.node("Shape", tensor, start=first, end=last)

    def within_reach(self, grid: str) -> str:
        """Name of a grid of GridSample whose places far outside of the map are just outside of it.

        Values from 3 on are beyond maps of any size, and onnxruntime turns places into whole numbers that overflow from
        about 1e18 on, which brings them back inside. It does the same with NaN: see `doubt`.
        """
        low, high = (self.node("CastLike", self.constant(side, np.float32), grid) for side in (-OUTSIDE, OUTSIDE))
        return self.node("Clip", grid, low, high)

    def doubt(self, *places: str) -> str:
        """Name of a tensor that is NaN where one of these is NaN or infinite, and zero elsewhere.

        Added to what a sample is weighed with, it makes the result NaN there as in torch; onnxruntime's GridSample makes
        some pixel of the map out of a place that is no number, and so hides that a model is broken.
        """
        total = places[0]
        for place in places[1:]:
            total = self.node("Add", total, place)
        return self.node("Sub", total, total)

    def function(self) -> onnx.FunctionProto:
        """The function, complete."""
        return helper.make_function(
            DOMAIN,
            self._op.name,
            list(self._op.inputs),
            list(self._op.outputs),
            self._nodes,
            [helper.make_opsetid("", OPSET)],
            [*PLUGIN, *self._op.attributes],
        )
