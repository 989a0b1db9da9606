"""Manhattan self-attention of RMT: over the whole map (MaSA), and along rows, then columns (MaSAd).

Formulas: RMT: Retentive Networks Meet Vision Transformers (arXiv 2309.11523), equations 7 and 9, with the local
enhancement ``lepe``, a depth-wise convolution of the values.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from lineside.export.budgets import MASK_BYTES
from lineside.export.modules.rmt.positions import Relation, turned

__all__ = ["MASK_BYTES", "WEIGHTS_BYTES", "DWConv2d", "MaSA", "MaSAd"]

BYTES = 4
"""Of a float32."""

WEIGHTS_BYTES = 256_000_000
"""Attention weights of one picture beyond which a whole map is too large to be looked at at once; several such tensors
live at the same time while a graph runs."""


class DWConv2d(nn.Module):
    """Depth-wise convolution of a map whose channels come last.

    Args:
        dim: Channels.
        kernel: Side of the kernel.
        stride: Stride.
        padding: Zeros around the map.
    """

    def __init__(self, dim: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, kernel, stride, padding, groups=dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, H, W, C)`` to ``(batch, H', W', C)``."""
        y: torch.Tensor = self.conv(x.permute(0, 3, 1, 2))
        return y.permute(0, 2, 3, 1)


class _Retention(nn.Module):
    """Projections that both forms of the attention share.

    Args:
        embed_dim: Channels of all heads.
        num_heads: Heads.
    """

    lineside_static = "its masks of distances are made for one size of the map"

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"{embed_dim} channels cannot be shared among {num_heads} heads")
        self.num_heads, self.head_dim = num_heads, embed_dim // num_heads
        self.scale = self.head_dim**-0.5
        self.q_proj = nn.Linear(embed_dim, embed_dim)
        self.k_proj = nn.Linear(embed_dim, embed_dim)
        self.v_proj = nn.Linear(embed_dim, embed_dim)
        self.lepe = DWConv2d(embed_dim, 5, 1, 2)
        self.out_proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: torch.Tensor, relation: Relation) -> torch.Tensor:
        """Retention over a map.

        Args:
            x: ``(batch, H, W, C)``.
            relation: Positions of a map of that size, of as many heads.

        Returns:
            ``(batch, H, W, C)``.
        """
        v = self.v_proj(x)
        lepe = self.lepe(v)
        if x.shape[1] == x.shape[2] == 1:  # the only cell there is sees itself, whatever it asks for
            return cast(torch.Tensor, self.out_proj(v + lepe))
        q, k = self.q_proj(x), self.k_proj(x) * self.scale
        q, k, v = (each.reshape(*x.shape[:3], self.num_heads, self.head_dim) for each in (q, k, v))
        if relation.sin is not None and relation.cos is not None:
            sin, cos = relation.sin[:, :, None], relation.cos[:, :, None]
            q, k = q * cos + turned(q) * sin, k * cos + turned(k) * sin
        y: torch.Tensor = self.out_proj(self.attend(q, k, v, relation).flatten(-2) + lepe)
        return y

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, relation: Relation) -> torch.Tensor:
        """What each cell gathers from the others: ``(batch, H, W, heads, d)`` each, and the result too."""
        raise NotImplementedError


class MaSA(_Retention):
    """Every cell sees every cell: ``softmax(q k^T + mask) v``, cost and memory of ``(H * W) ** 2`` per head.

    A graph holds the mask of its size as a constant; where that would be larger than `MASK_BYTES`, the parts for rows
    and columns are added one after the other instead, which takes a pass over the weights more and no memory.

    Args:
        embed_dim: Channels of all heads.
        num_heads: Heads.
    """

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, relation: Relation) -> torch.Tensor:
        """See the base class."""
        batch, height, width, heads, dim = q.shape
        cells = height * width
        q, k, v = (each.flatten(1, 2).transpose(1, 2) for each in (q, k, v))
        logits = q @ k.transpose(-1, -2)
        if heads * cells * cells * BYTES > MASK_BYTES:
            apart = logits.reshape(batch, heads, height, width, height, width)
            apart = apart + relation.mask_h[:, :, None, :, None] + relation.mask_w[:, None, :, None, :]
            logits = apart.reshape(batch, heads, cells, cells)
        else:
            logits = logits + relation.mask_whole()
        return (logits.softmax(-1) @ v).transpose(1, 2).reshape(batch, height, width, heads, dim)

    def lineside_limit(self, height: int, width: int) -> str | None:
        """Why this block cannot be exported for a map of that size; None where it can.

        Args:
            height: Rows of the map.
            width: Columns.
        """
        weights = self.num_heads * (height * width) ** 2 * BYTES
        if weights <= WEIGHTS_BYTES:
            return None
        return (
            f"attends from each of {height}x{width} cells to all, with {self.num_heads} heads: that is "
            f"{weights / 1e6:,.0f} MB of weights for one picture, and {WEIGHTS_BYTES / 1e6:,.0f} MB is the most: use "
            "MaSAd, which goes along rows and columns, in its place (C2PSA_MaSAd, or chunk: true for that stage), or "
            "a smaller --imgsz"
        )


class MaSAd(_Retention):
    """Every cell sees its row, then what its column has gathered that way: cost of ``H * W * (H + W)`` per head.

    Args:
        embed_dim: Channels of all heads.
        num_heads: Heads.
    """

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, relation: Relation) -> torch.Tensor:
        """See the base class."""
        rows, columns = (0, 1, 3, 2, 4), (0, 2, 3, 1, 4)  # (batch, H, heads, W, d) and (batch, W, heads, H, d)
        along_w = q.permute(rows) @ k.permute(rows).transpose(-1, -2) + relation.mask_w
        v = along_w.softmax(-1) @ v.permute(rows)
        along_h = q.permute(columns) @ k.permute(columns).transpose(-1, -2) + relation.mask_h
        return (along_h.softmax(-1) @ v.permute(0, 3, 2, 1, 4)).permute(0, 3, 1, 2, 4)
