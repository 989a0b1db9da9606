"""Content-aware reassembly of features (Wang et al., "CARAFE", 2019, eq. 2) as one operator.

    y[c, p] = sum over taps t of  mask[t, p] * x[c, p // up + t - kernel // 2]

Each pixel of the result is a weighted sum of the pixels around its place in ``x``, with weights of its own that all
channels share. Taps are row-major.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import torch
from torch.nn import functional

from lineside.export.ops.body import Body
from lineside.export.ops.op import CustomOp
from lineside.runtime.ops.carafe import Border, DeviceCarafe

__all__ = ["Border", "Carafe"]


@dataclass(frozen=True)
class Carafe(DeviceCarafe, CustomOp):
    """The operator of `lineside.runtime.ops.carafe`, with its torch form and its body."""

    @property
    def _pads(self) -> tuple[int, int]:
        """Pixels before and behind the picture that the window reaches."""
        return self.kernel // 2, self.kernel - 1 - self.kernel // 2

    def torch(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Adds up one tap after the other, at the resolution of x with the up * up phases of y beside each other.

        Nothing of the size of all taps is ever made, and what autograd keeps are views.
        """
        x, mask = tensors
        n, c, h, w = x.shape
        k, u, g = self.kernel, self.up, self.groups
        before, behind = self._pads
        window = functional.pad(
            x, (before, behind, before, behind), "constant" if self.border == "zero" else "reflect"
        ).reshape(n, g, c // g, 1, h + k - 1, w + k - 1)
        phases = mask.reshape(n, g, k * k, h, u, w, u).permute(2, 0, 1, 4, 6, 3, 5).reshape(k * k, n, g, 1, u * u, h, w)
        y = window[..., :h, :w] * phases[0]
        for tap in range(1, k * k):
            row, column = divmod(tap, k)
            y = torch.addcmul(y, window[..., row : row + h, column : column + w], phases[tap])
        return functional.pixel_shuffle(y.reshape(n, c * u * u, h, w), u)

    def body(self) -> onnx.FunctionProto:
        """One product of matrices per pixel of x: (up * up, taps) by (taps, channels).

        The pixels of a window are gathered as rows of channels, one copy of c numbers each. Every reordering is of
        two neighbouring axes, for which engines have fast code, in place of one over six axes.
        """
        body, k, u, g = Body(self), self.kernel, self.up, self.groups
        batch, channels = body.sides("x", 0, 1), body.sides("x", 1, 2)
        hw, out = body.sides("x", 2, 4), body.sides("mask", 2, 4)
        maps, width = batch, channels
        if g > 1:
            maps, width = body.node("Mul", batch, body.ints(g)), body.node("Div", channels, body.ints(g))
        pixels = body.node("ReduceProd", hw, keepdims=1)
        taps = body.ints(k * k)
        rows = body.node("Gather", self._pixels(body, maps, width), self._places(body), axis=1)
        rows = body.node("Reshape", rows, self._joined(body, maps, pixels, taps, width))
        weights = body.node("Reshape", "mask", self._joined(body, maps, taps, body.ints(-1)))
        weights = self._phases(body, body.node("Transpose", weights, perm=[0, 2, 1]), k * k, inwards=True)
        weights = body.node("Reshape", weights, self._joined(body, maps, pixels, body.ints(u * u, k * k)))
        y = body.node("MatMul", weights, rows)
        y = self._phases(body, y, None, inwards=False, width=width)
        y = body.node("Reshape", y, self._joined(body, maps, body.ints(-1), width))
        y = body.node("Transpose", y, perm=[0, 2, 1])
        body.node("Reshape", y, self._joined(body, batch, channels, out), output="y")
        return body.function()

    @staticmethod
    def _joined(body: Body, *sides: str) -> str:
        """A shape out of its sides."""
        return body.node("Concat", *sides, axis=0)

    def _pixels(self, body: Body, maps: str, width: str) -> str:
        """Every pixel of x with its border as a row of channels, (maps, pixels, channels)."""
        before, behind = self._pads
        x = "x"
        if self.kernel > 1:
            mode = "constant" if self.border == "zero" else "reflect"
            x = body.node("Pad", x, body.ints(0, 0, before, before, 0, 0, behind, behind), mode=mode)
        x = body.node("Reshape", x, self._joined(body, maps, width, body.ints(-1)))
        return body.node("Transpose", x, perm=[0, 2, 1])

    def _places(self, body: Body) -> str:
        """Which row of `_pixels` each tap of each pixel reads, (pixels * taps)."""
        k = self.kernel
        zero, one = body.constant(0, "int64"), body.constant(1, "int64")
        h, w = (body.node("Squeeze", body.sides("x", axis, axis + 1)) for axis in (2, 3))
        stride = body.node("Add", w, body.constant(k - 1, "int64"))
        axes = []
        for count in (h, w):
            pixels = body.node("Unsqueeze", body.node("Range", zero, count, one), body.ints(1))
            axes.append(body.node("Add", pixels, body.constant([list(range(k))], "int64")))  # (side, k)
        rows = body.node("Mul", axes[0], stride)
        rows = body.node("Unsqueeze", rows, body.ints(1, 3))  # (h, 1, k, 1)
        columns = body.node("Unsqueeze", axes[1], body.ints(0, 2))  # (1, w, 1, k)
        return body.node("Reshape", body.node("Add", rows, columns), body.ints(-1))

    def _phases(self, body: Body, tensor: str, size: int | None, inwards: bool, width: str = "") -> str:
        """Brings the phases of a row of y, which lie w apart, together at their pixel of x, or back.

        Args:
            body: The body being written.
            tensor: (maps, pixels of y, size) in the order of y, or in that of x with phases row-major.
            size: Numbers per pixel; None for ``width``.
            inwards: From the order of y to that of x.
            width: Name of the number of channels.
        """
        u = self.up
        if u == 1:
            return tensor
        inner = body.ints(u * size) if size is not None else body.node("Mul", width, body.ints(u))
        w = body.sides("x", 3, 4)
        order = (body.ints(u), w) if inwards else (w, body.ints(u))
        tensor = body.node("Reshape", tensor, self._joined(body, body.ints(-1), *order, inner))
        return body.node("Transpose", tensor, perm=[0, 2, 1, 3])
