"""Multi-scale deformable attention: every query looks at a few places of every level that it chooses itself.

Zhu, Su, Lu, Li, Wang and Dai, "Deformable DETR: Deformable Transformers for End-to-End Object Detection", ICLR 2021,
equation 3 and appendix A.4 (initial values). Names in the state dict are those of the published checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from lineside.export.ops import emit
from lineside.export.ops.ms_deform_attn import MSDeformAttn as Op
from lineside.runtime.errors import BadOption

__all__ = [
    "MSDeformAttn",
    "Shapes",
    "bias_init_with_prob",
    "inverse_sigmoid",
    "linear_init",
    "ms_deform_attn",
]

Shapes = Sequence[Sequence[int]] | torch.Tensor
"""Height and width of each level; whole numbers where a model is traced, since a tensor would not be a constant."""


def ms_deform_attn(
    value: torch.Tensor,
    spatial_shapes: Shapes,
    sampling_locations: torch.Tensor,
    attention_weights: torch.Tensor,
) -> torch.Tensor:
    """Samples each level bilinearly at each location, weighs and adds up (equation 3 without its projections).

    Args:
        value: Pixels of all levels behind each other, row by row, ``(N, S, M, D)``: M heads of D channels.
        spatial_shapes: ``(H, W)`` of each of the L levels.
        sampling_locations: ``(N, Lq, M, L, P, 2)``: x and y, 0 and 1 at the outer edges of a map; beyond is zero.
        attention_weights: ``(N, Lq, M, L, P)``, as they multiply.

    Returns:
        ``(N, Lq, M * D)``.

    Raises:
        BadOption: The levels do not have S pixels together, or another number of levels is sampled.
    """
    sides = _sides(spatial_shapes)
    pixels = [h * w for h, w in sides]
    if sum(pixels) != value.shape[1]:
        raise BadOption(f"Levels of {_listed(sides)} have {sum(pixels)} pixels, and there are {value.shape[1]} values")
    if sampling_locations.shape[3] != len(sides):
        raise BadOption(f"There are {len(sides)} levels, and {sampling_locations.shape[3]} are sampled")
    starts = [sum(pixels[:level]) for level in range(len(sides))]
    out = cast(
        torch.Tensor,
        emit.call(
            Op(len(sides)),
            value,
            torch.tensor(sides, dtype=torch.int32),
            torch.tensor(starts, dtype=torch.int32),
            sampling_locations,
            attention_weights,
        ),
    )
    return out.flatten(2)


class MSDeformAttn(nn.Module):
    """Multi-scale deformable attention with its projections.

    Args:
        d_model: Channels of queries, values and result.
        n_levels: Levels that are looked at.
        n_heads: Heads; each has its own places and its share of the channels.
        n_points: Places per head and level.

    Raises:
        BadOption: The heads do not share the channels evenly, or a number is below 1.
    """

    def __init__(self, d_model: int = 256, n_levels: int = 4, n_heads: int = 8, n_points: int = 4) -> None:
        super().__init__()
        if min(d_model, n_levels, n_heads, n_points) < 1 or d_model % n_heads:
            raise BadOption(
                f"Attention with {d_model} channels, {n_heads} heads, {n_levels} levels and {n_points} points cannot "
                "be built: give numbers of at least 1, and channels that the heads share evenly"
            )
        self.d_model, self.n_levels, self.n_heads, self.n_points = d_model, n_levels, n_heads, n_points
        places = n_heads * n_levels * n_points
        self.sampling_offsets = nn.Linear(d_model, places * 2)
        self.attention_weights = nn.Linear(d_model, places)
        self.value_proj = nn.Linear(d_model, d_model)
        self.output_proj = nn.Linear(d_model, d_model)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial values: head m looks in direction 2 pi m / M, its point p as far as p + 1 pixels, all alike."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angles = torch.arange(self.n_heads) * (2 * math.pi / self.n_heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.n_points + 1, dtype=directions.dtype)
        offsets = directions[:, None, None] * steps[:, None]  # (M, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.n_levels, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self,
        query: torch.Tensor,
        reference_points: torch.Tensor,
        input_flatten: torch.Tensor,
        spatial_shapes: Shapes,
        padding_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attends.

        Args:
            query: ``(N, Lq, d_model)``.
            reference_points: Where each query stands on each level, 0 to 1: ``(N, Lq, L, 2)`` as x and y, with offsets
                in pixels of the level; or ``(N, Lq, L, 4)`` as x, y, width and height of a box, with offsets in halves
                of the box's sides over all points. N may be 1 for all pictures.
            input_flatten: Pixels of all levels behind each other, row by row, ``(N, S, d_model)``.
            spatial_shapes: ``(H, W)`` of each level.
            padding_mask: ``(N, S)``, true or 1 where a pixel is padding, which counts as zero.

        Returns:
            ``(N, Lq, d_model)``.

        Raises:
            BadOption: The reference points have another last side than 2 and 4, or the levels do not fit.
        """
        n, queries = query.shape[:2]
        value = self.value_proj(input_flatten)
        if padding_mask is not None:
            value = value.masked_fill(padding_mask.bool()[..., None], 0.0)
        weights = self.attention_weights(query).view(n, queries, self.n_heads, -1).softmax(-1)
        out = ms_deform_attn(
            value.view(n, -1, self.n_heads, self.d_model // self.n_heads),
            spatial_shapes,
            self._locations(self.sampling_offsets(query), reference_points, spatial_shapes),
            weights.view(n, queries, self.n_heads, self.n_levels, self.n_points),
        )
        return cast(torch.Tensor, self.output_proj(out))

    def _locations(self, offsets: torch.Tensor, reference: torch.Tensor, shapes: Shapes) -> torch.Tensor:
        """Places to sample, ``(N, Lq, M, L, P, 2)``, float32 at least.

        Queries are brought to the end for the arithmetic, and back: with pairs of x and y there, every engine would
        walk through it two numbers at a time.
        """
        if offsets.dtype.itemsize < 4:
            offsets = offsets.float()
        n, queries = offsets.shape[:2]
        sides = (self.n_heads, self.n_levels, self.n_points, 2)
        moves = offsets.transpose(1, 2).reshape(n, *sides, queries)
        reference = reference.permute(0, 2, 3, 1)[:, None, :, None]  # (N, 1, L, 1, 2 or 4, Lq)
        if reference.shape[4] == 2:
            pixel = offsets.new_tensor([[1 / w, 1 / h] for h, w in _sides(shapes)])
            places = reference + moves * pixel[:, None, :, None]
        elif reference.shape[4] == 4:
            places = reference[..., :2, :] + moves * (reference[..., 2:, :] * (0.5 / self.n_points))
        else:
            raise BadOption(f"A reference point has 2 or 4 numbers, and these have {reference.shape[4]}")
        return places.reshape(n, -1, queries).transpose(1, 2).reshape(n, queries, *sides)


def inverse_sigmoid(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """``log(x / (1 - x))`` of numbers clamped to 0 to 1, each of the two at least ``eps``; any shape."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def bias_init_with_prob(probability: float) -> float:
    """Bias with which a sigmoid starts at a probability between 0 and 1: ``-log((1 - p) / p)``."""
    return -math.log((1 - probability) / probability)


def linear_init(linear: nn.Linear) -> None:
    """Draws weight and bias of a linear layer from between ``-b`` and ``b``, ``b = 1 / sqrt(out_features)``."""
    bound = 1 / math.sqrt(linear.out_features)
    nn.init.uniform_(linear.weight, -bound, bound)
    if linear.bias is not None:
        nn.init.uniform_(linear.bias, -bound, bound)


def _sides(shapes: Shapes) -> list[tuple[int, int]]:
    """Height and width of each level as whole numbers."""
    listed = shapes.tolist() if isinstance(shapes, torch.Tensor) else shapes
    return [(int(h), int(w)) for h, w in listed]


def _listed(sides: Sequence[tuple[int, int]]) -> str:
    """``6x5 and 3x4``."""
    return " and ".join(f"{h}x{w}" for h, w in sides)
