"""Modulated deformable convolution (Zhu et al., "Deformable ConvNets v2", 2019, eq. 2) as one operator.

    y(p) = sum over taps t of  w_t * m_t(p) * x(p * stride - padding + dilation * t + offset_t(p))

``x`` at a fractional place is bilinear, and a corner outside of the picture counts as zero. Channels of ``offset`` are,
for each deform group, for each tap (row-major), first dy, then dx.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional

from lineside.export.ops.body import Body
from lineside.export.ops.op import CustomOp
from lineside.runtime.ops.mod_deform_conv2d import DeviceModDeformConv2d, Pair

__all__ = ["ModDeformConv2d", "Pair"]


@dataclass(frozen=True)
class ModDeformConv2d(DeviceModDeformConv2d, CustomOp):
    """The operator of `lineside.runtime.ops.mod_deform_conv2d`, with its torch form and its body."""

    def complete(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """With a bias of zeros where there is none."""
        if len(tensors) == len(self.inputs):
            return tensors
        return (*tensors, torch.zeros(tensors[3].shape[0], dtype=tensors[3].dtype, device=tensors[3].device))

    def torch(self, *tensors: Tensor) -> Tensor:
        """One bilinear sampling for all taps, then a 1x1 convolution over channels and taps.

        Places are computed in float32 at least: in float16 they would be known to a sixteenth of a pixel only.
        """
        x, offset, mask, weight = tensors[:4]
        (n, c, h, w), (oh, ow), dg, taps = x.shape, offset.shape[2:], self.deform_groups, self.taps
        delta = offset.reshape(n * dg, taps, 2, oh, ow).to(torch.promote_types(offset.dtype, torch.float32))
        rows, columns = self._places(oh, ow, delta)
        # A pixel's centre is half a pixel inside of it: place p is (2 * p + 1) / side - 1 between -1 and 1.
        grid = torch.stack(
            [(delta[:, :, 1] + columns) * (2 / w) + (1 / w - 1), (delta[:, :, 0] + rows) * (2 / h) + (1 / h - 1)], -1
        )
        samples = functional.grid_sample(
            x.reshape(n * dg, c // dg, h, w).to(grid.dtype), grid.reshape(n * dg, taps * oh, ow, 2), align_corners=False
        )
        samples = (samples * mask.reshape(n * dg, 1, taps * oh, ow)).to(x.dtype)
        return functional.conv2d(
            samples.reshape(n, c * taps, oh, ow),
            weight.reshape(weight.shape[0], -1, 1, 1),
            tensors[4] if len(tensors) > 4 else None,
            groups=self.groups,
        )

    def _places(self, oh: int, ow: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (taps, oh, 1) and columns (taps, 1, ow) of the taps without offsets, in pixels of x."""
        (kh, kw), places = self.kernel, []
        for count, k, s, p, d in zip((oh, ow), self.kernel, self.stride, self.padding, self.dilation, strict=True):
            steps = torch.arange(count, dtype=like.dtype, device=like.device) * s - p
            places.append(steps + torch.arange(k, dtype=like.dtype, device=like.device).unsqueeze(1) * d)
        return places[0].repeat_interleave(kw, 0).unsqueeze(2), places[1].repeat(kh, 1).unsqueeze(1)

    def body(self) -> onnx.FunctionProto:
        """The torch form in standard operators; sides are read from the inputs, and engines fold what is static.

        Measured on onnxruntime 1.31.1 with one thread, 64 channels of 80x80, processor time: 15.5 ms so; 17.9 ms with a
        transpose in place of the split into dy and dx; 18.6 ms with one sampling per tap; 23.1 ms gathering the four
        corners with the channels last.
        """
        body, dg, taps = Body(self), self.deform_groups, self.taps
        hw, out = body.sides("x", 2, 4), body.sides("offset", 2, 4)
        batch, outputs = body.sides("x", 0, 1), body.sides("weight", 0, 1)
        groups = batch if dg == 1 else body.node("Mul", batch, body.ints(dg))
        taps_out = body.node("Mul", out, body.ints(taps, 1))
        delta = body.node("Reshape", "offset", body.node("Concat", groups, body.ints(taps, 2), out, axis=0))
        places = [
            body.node("Reshape", place, body.node("Concat", groups, taps_out, body.ints(1), axis=0))
            for place in self._body_places(body, delta, hw, out)
        ]
        doubt = body.doubt(*places)
        grid = body.within_reach(body.node("Concat", *reversed(places), axis=3))
        x = body.node("Reshape", "x", body.node("Concat", groups, body.ints(-1), hw, axis=0))
        samples = body.node("GridSample", x, grid, mode="bilinear", padding_mode="zeros", align_corners=0)
        masks = body.node("Concat", groups, body.ints(1), taps_out, axis=0)
        mask = body.node("Add", body.node("Reshape", "mask", masks), body.node("Reshape", doubt, masks))
        samples = body.node("Mul", samples, mask)
        samples = body.node("Reshape", samples, body.node("Concat", batch, body.ints(-1), out, axis=0))
        weight = body.node("Reshape", "weight", body.node("Concat", outputs, body.ints(-1, 1, 1), axis=0))
        body.node("Conv", samples, weight, "bias", output="y", group=self.groups, kernel_shape=[1, 1])
        return body.function()

    def _body_places(self, body: Body, delta: str, hw: str, out: str) -> list[str]:
        """Where taps sample, y and x between -1 and 1, (n * deform_groups, taps, 1, oh, ow) each."""
        (kh, kw), found = self.kernel, []
        deltas = body.nodes("Split", delta, outputs=2, axis=2, num_outputs=2)
        for axis, (k, s, p, d) in enumerate(zip(self.kernel, self.stride, self.padding, self.dilation, strict=True)):
            which = body.constant(axis, np.int64)
            side = body.node("Cast", body.node("Gather", hw, which), to=onnx.TensorProto.FLOAT)
            scale = body.node("Div", body.floats(2), side)
            steps = body.node(
                "Range", body.constant(0, np.int64), body.node("Gather", out, which), body.constant(1, np.int64)
            )
            steps = body.node("Cast", steps, to=onnx.TensorProto.FLOAT)
            steps = body.node("Add", body.node("Mul", steps, body.floats(s)), body.floats(-p))
            steps = body.node("Reshape", steps, body.ints(*((-1, 1) if axis == 0 else (1, -1))))
            taps = np.broadcast_to((np.arange(k) * d).reshape((k, 1) if axis == 0 else (1, k)), (kh, kw))
            steps = body.node("Add", steps, body.constant(taps.reshape(-1, 1, 1, 1), np.float32))
            start = body.node("Sub", body.node("Reciprocal", side), body.floats(1))
            base = body.node("Add", body.node("Mul", steps, scale), start)
            found.append(body.node("Add", body.node("Mul", deltas[axis], scale), base))
        return found
