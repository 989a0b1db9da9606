"""Multi-scale deformable attention (Zhu et al., "Deformable DETR", 2021, eq. 3) as one operator.

    out[q, m] = sum over levels l and points p of  weight[q, m, l, p] * value_l[m](location[q, m, l, p])

``value_l[m]`` at a fractional place is bilinear, and a corner outside of its map counts as zero. A location goes from
(0, 0) at the outer edge of the first pixel to (1, 1) at that of the last one.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import torch
from torch.nn import functional

from lineside.export.ops.body import Body
from lineside.export.ops.op import CustomOp
from lineside.runtime.ops.ms_deform_attn import DeviceMSDeformAttn

__all__ = ["MSDeformAttn"]


@dataclass(frozen=True)
class MSDeformAttn(DeviceMSDeformAttn, CustomOp):
    """The operator of `lineside.runtime.ops.ms_deform_attn`, with its torch form and its body."""

    def torch(self, *tensors: torch.Tensor) -> torch.Tensor:
        """One bilinear sampling per level, weighted and added up; of the type of the value.

        Places are computed in float32 at least: in float16 they would be known to a twentieth of a pixel of a large map.
        """
        value, shapes, starts, locations, weights = tensors
        locations = locations.to(torch.promote_types(locations.dtype, torch.float32))
        n, s, m, d = value.shape
        queries, points = locations.shape[1], locations.shape[4]
        maps = value.permute(0, 2, 3, 1).reshape(n * m, d, s)
        grids = (2 * locations - 1).permute(3, 0, 2, 1, 4, 5).reshape(self.levels, n * m, queries, points, 2)
        factors = weights.permute(3, 0, 2, 1, 4).reshape(self.levels, n * m, 1, queries, points)
        total = grids.new_zeros(n * m, d, queries)
        for level, (start, (h, w)) in enumerate(zip(starts.tolist(), shapes.tolist(), strict=True)):
            plane = maps[:, :, start : start + h * w].reshape(n * m, d, h, w)
            samples = functional.grid_sample(plane.to(grids.dtype), grids[level], align_corners=False)
            total = total + (samples * factors[level]).sum(-1)
        return total.to(value.dtype).reshape(n, m * d, queries).transpose(1, 2).reshape(n, queries, m, d)

    def body(self) -> onnx.FunctionProto:
        """The torch form with one four-dimensional GridSample per level, the only kind that TensorRT knows.

        Sides, and the shapes and starts of the levels, are read from the inputs; engines fold what is static.
        """
        body = Body(self)
        batch, queries = body.sides("value", 0, 1), body.sides("sampling_locations", 1, 2)
        heads_width, points = body.sides("value", 2, 4), body.sides("sampling_locations", 4, 5)
        heads, width = body.sides("value", 2, 3), body.sides("value", 3, 4)
        maps = body.node("Mul", batch, heads)
        shapes, starts = (body.node("Cast", name, to=onnx.TensorProto.INT64) for name in self.inputs[1:3])
        planes = body.node("Transpose", "value", perm=[0, 2, 3, 1])
        planes = body.node("Reshape", planes, body.node("Concat", maps, width, body.ints(-1), axis=0))
        grids = body.node("Add", "sampling_locations", "sampling_locations")
        grids = body.node("Sub", grids, body.node("CastLike", body.floats(1), grids))
        grids = self._per_map(body, body.within_reach(grids), batch, queries, maps)
        doubt = body.doubt(body.node("ReduceSum", "sampling_locations", body.ints(5), keepdims=0))
        factors = body.node("Add", "attention_weights", doubt)
        factors = self._per_map(body, factors, batch, queries, maps)
        per_level = body.node("Concat", maps, queries, points, body.ints(2), axis=0)
        weighing = body.node("Concat", maps, body.ints(1), queries, points, axis=0)
        total = ""
        for level in range(self.levels):
            index = body.ints(level)
            hw = body.node("Squeeze", body.node("Gather", shapes, index), body.ints(0))
            start = body.node("Gather", starts, index)
            end = body.node("Add", start, body.node("ReduceProd", hw, keepdims=1))
            plane = body.node("Slice", planes, start, end, body.ints(2))
            plane = body.node("Reshape", plane, body.node("Concat", maps, width, hw, axis=0))
            grid = body.node("Reshape", body.node("Gather", grids, index, axis=1), per_level)
            samples = body.node("GridSample", plane, grid, mode="bilinear", padding_mode="zeros", align_corners=0)
            factor = body.node("Reshape", body.node("Gather", factors, index, axis=1), weighing)
            part = body.node("ReduceSum", body.node("Mul", samples, factor), body.ints(3), keepdims=0)
            total = body.node("Add", total, part) if total else part
        total = body.node("Reshape", total, body.node("Concat", batch, body.ints(-1), queries, axis=0))
        total = body.node("Transpose", total, perm=[0, 2, 1])
        body.node("Reshape", total, body.node("Concat", batch, queries, heads_width, axis=0), output="output")
        return body.function()

    def _per_map(self, body: Body, tensor: str, batch: str, queries: str, maps: str) -> str:
        """Brings (n, q, m, levels, ...) to (n * m, levels, q, the rest in one).

        Only two axes change places, so that an engine may join this with a reordering before it and stay fast.
        """
        rest = body.node("ReduceProd", body.sides(tensor, 4, 6), keepdims=1)
        heads = body.node("Mul", body.sides("value", 2, 3), body.ints(self.levels))
        tensor = body.node("Reshape", tensor, body.node("Concat", batch, queries, heads, rest, axis=0))
        tensor = body.node("Transpose", tensor, perm=[0, 2, 1, 3])
        return body.node("Reshape", tensor, body.node("Concat", maps, body.ints(self.levels), queries, rest, axis=0))
