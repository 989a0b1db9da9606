"""Manhattan self-attention of RMT: over the whole map (MaSA), and along rows, then columns (MaSAd).

Formulas: RMT: Retentive Networks Meet Vision Transformers (arXiv 2309.11523), equations 7 and 9, with the local
enhancement ``lepe``, a depth-wise convolution of the values.
"""

from __future__ import annotations

import torch
from torch import nn

from lineside.export.modules.rmt.positions import Relation, turned

__all__ = ["DWConv2d", "MaSA", "MaSAd"]


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
        return self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class _Retention(nn.Module):
    """Projections that both forms of the attention share.

    Args:
        embed_dim: Channels of all heads.
        num_heads: Heads.
    """

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
        q, k, v = self.q_proj(x), self.k_proj(x) * self.scale, self.v_proj(x)
        lepe = self.lepe(v)
        q, k, v = (each.unflatten(-1, (self.num_heads, self.head_dim)) for each in (q, k, v))
        if relation.sin is not None and relation.cos is not None:
            sin, cos = relation.sin[:, :, None], relation.cos[:, :, None]
            q, k = q * cos + turned(q) * sin, k * cos + turned(k) * sin
        seen: torch.Tensor = self.attend(q, k, v, relation).flatten(-2)
        return self.out_proj(seen + lepe)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, relation: Relation) -> torch.Tensor:
        """What each cell gathers from the others: ``(batch, H, W, heads, d)`` each, and the result too."""
        raise NotImplementedError


class MaSA(_Retention):
    """Every cell sees every cell: ``softmax(q k^T + mask) v``, cost and memory of ``(H * W) ** 2`` per head.

    Args:
        embed_dim: Channels of all heads.
        num_heads: Heads.
    """

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, relation: Relation) -> torch.Tensor:
        """See the base class."""
        height, width = q.shape[1:3]
        q, k, v = (each.flatten(1, 2).transpose(1, 2) for each in (q, k, v))
        weights = (q @ k.transpose(-1, -2) + relation.mask_whole()).softmax(-1)
        return (weights @ v).transpose(1, 2).unflatten(1, (height, width))


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
