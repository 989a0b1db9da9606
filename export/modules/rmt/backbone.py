"""Blocks, stages and backbones of RMT (RMT: Retentive Networks Meet Vision Transformers, arXiv 2309.11523, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lineside.export.modules.rmt.attention import DWConv2d, MaSA, MaSAd
from lineside.export.modules.rmt.config import STAGES, VARIANTS, RMTConfig
from lineside.export.modules.rmt.positions import Relation, RelPos2d

__all__ = [
    "RMT",
    "FeedForwardNetwork",
    "PatchEmbed",
    "PatchMerging",
    "RetBlock",
    "RetStage",
    "rmt",
]

RetentionKind = Literal["whole", "chunk"]
"""``whole``: `MaSA`; ``chunk``: `MaSAd`, rows and columns one after the other."""

_RETENTIONS: dict[str, type[MaSA] | type[MaSAd]] = {"whole": MaSA, "chunk": MaSAd}


class FeedForwardNetwork(nn.Module):
    """``fc2(z + DW3x3(z))`` with ``z = GELU(fc1(x))``; channels last.

    Args:
        embed_dim: Channels in and out.
        ffn_dim: Channels between.
    """

    def __init__(self, embed_dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, ffn_dim)
        self.act = nn.GELU()
        self.dwconv = DWConv2d(ffn_dim, 3, 1, 1)
        self.fc2 = nn.Linear(ffn_dim, embed_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, H, W, C)`` to the same shape."""
        z = self.act(self.fc1(x))
        y: torch.Tensor = self.fc2(z + self.dwconv(z))
        return y


class RetBlock(nn.Module):
    """``x + pos(x)``, then ``x + retention(LN(x))``, then ``x + ffn(LN(x))``; channels last.

    Args:
        retention: Form of the attention.
        embed_dim: Channels.
        num_heads: Heads of the retention.
        ffn_dim: Channels inside the feed-forward network.
        layerscale: Both later residuals have a trained factor per channel, ``gamma_1`` and ``gamma_2``.
        layer_init: Value that these factors begin with.
        drop_path: Chance that training leaves out such a residual of a picture.

    Raises:
        ValueError: No such form of attention, or channels that the heads cannot share.
    """

    def __init__(
        self,
        retention: RetentionKind,
        embed_dim: int,
        num_heads: int,
        ffn_dim: int,
        layerscale: bool = False,
        layer_init: float = 1e-5,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if retention not in _RETENTIONS:
            raise ValueError(f"retention is 'whole' or 'chunk', not {retention!r}")
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path is a chance below 1, not {drop_path}")
        self.pos = DWConv2d(embed_dim, 3, 1, 1)
        self.retention_layer_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.retention = _RETENTIONS[retention](embed_dim, num_heads)
        self.final_layer_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.ffn = FeedForwardNetwork(embed_dim, ffn_dim)
        self.drop_path = float(drop_path)
        shape = (1, 1, 1, embed_dim)
        self.gamma_1 = nn.Parameter(torch.full(shape, layer_init)) if layerscale else None
        self.gamma_2 = nn.Parameter(torch.full(shape, layer_init)) if layerscale else None

    def forward(self, x: torch.Tensor, relation: Relation) -> torch.Tensor:
        """Applies the block.

        Args:
            x: ``(batch, H, W, C)``.
            relation: Positions of a map of that size, of as many heads.

        Returns:
            ``(batch, H, W, C)``.
        """
        x = x + self.pos(x)
        x = x + self._residual(self.retention(self.retention_layer_norm(x), relation), self.gamma_1)
        return x + self._residual(self.ffn(self.final_layer_norm(x)), self.gamma_2)

    def _residual(self, x: torch.Tensor, gamma: torch.Tensor | None) -> torch.Tensor:
        """A residual with its factor, left out of some pictures while training (arXiv 1603.09382)."""
        if gamma is not None:
            x = x * gamma
        if self.training and self.drop_path > 0:
            kept = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.drop_path
            x = x * kept.to(x.dtype) / (1 - self.drop_path)
        return x


class PatchEmbed(nn.Module):
    """Four 3x3 convolutions with BatchNorm, GELU between them, of strides 2, 1, 2, 1: a picture at stride 4.

    Args:
        in_chans: Channels of the picture.
        embed_dim: Channels of the first stage; half of them in the first two convolutions.
    """

    def __init__(self, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        half = embed_dim // 2
        layers: list[nn.Module] = []
        for c1, c2, stride in ((in_chans, half, 2), (half, half, 1), (half, embed_dim, 2), (embed_dim, embed_dim, 1)):
            layers += [nn.Conv2d(c1, c2, 3, stride, 1), nn.BatchNorm2d(c2), nn.GELU()]
        self.proj = nn.Sequential(*layers[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, in_chans, H, W)`` to ``(batch, H / 4, W / 4, embed_dim)``, sides rounded up."""
        y: torch.Tensor = self.proj(x)
        return y.permute(0, 2, 3, 1)


class PatchMerging(nn.Module):
    """3x3 convolution of stride 2 with BatchNorm between two stages; channels last.

    Args:
        dim: Channels in.
        out_dim: Channels out.
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(dim, out_dim, 3, 2, 1)
        self.norm = nn.BatchNorm2d(out_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, H, W, dim)`` to ``(batch, H / 2, W / 2, out_dim)``, sides rounded up."""
        y: torch.Tensor = self.norm(self.reduction(x.permute(0, 3, 1, 2)))
        return y.permute(0, 2, 3, 1)


class RetStage(nn.Module):
    """Blocks of one stage, and the way down to the next.

    Args:
        config: The backbone.
        stage: Number of the stage.
        drop_paths: Chance of each block, see `RetBlock`.
    """

    def __init__(self, config: RMTConfig, stage: int, drop_paths: Sequence[float]) -> None:
        super().__init__()
        dim, heads = config.embed_dims[stage], config.num_heads[stage]
        self.checkpointing = config.checkpointing
        self.Relpos = RelPos2d(dim, heads, config.init_values[stage], config.heads_ranges[stage], config.rotary)
        self.blocks = nn.ModuleList(
            RetBlock(
                "chunk" if config.chunk[stage] else "whole",
                dim,
                heads,
                int(dim * config.mlp_ratios[stage]),
                config.layerscales[stage],
                config.layer_init,
                drop_path,
            )
            for drop_path in drop_paths
        )
        last = stage == max(config.outputs)
        self.downsample = None if last else PatchMerging(dim, config.embed_dims[stage + 1])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Applies the stage.

        Args:
            x: ``(batch, H, W, C)``.

        Returns:
            The map of this stage, and the input of the next (the same where there is none).
        """
        relation = self.Relpos(x.shape[1], x.shape[2], x)
        for block in self.blocks:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, relation, use_reentrant=False)
            else:
                x = block(x, relation)
        return x, x if self.downsample is None else self.downsample(x)


class RMT(nn.Module):
    """Backbone with maps at strides 4, 8, 16 and 32, or some of them.

    Args:
        config: What it is made of.
        in_chans: Channels of the picture.
    """

    def __init__(self, config: RMTConfig, in_chans: int = 3) -> None:
        super().__init__()
        self.config = config
        total = sum(config.depths)
        chances = [config.drop_path * index / max(1, total - 1) for index in range(total)]
        starts = [sum(config.depths[:stage]) for stage in range(STAGES)]
        self.patch_embed = PatchEmbed(in_chans, config.embed_dims[0])
        self.layers = nn.ModuleList(
            RetStage(config, stage, chances[starts[stage] : starts[stage] + config.depths[stage]])
            for stage in range(max(config.outputs) + 1)
        )
        self.extra_norms = nn.ModuleList(
            nn.LayerNorm(dim) if config.extra_norms and stage in config.outputs else nn.Identity()
            for stage, dim in enumerate(config.embed_dims)
        )
        self.apply(_begin)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the outputs."""
        return tuple(self.config.embed_dims[stage] for stage in self.config.outputs)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Maps of a picture.

        Args:
            x: ``(batch, in_chans, H, W)``.

        Returns:
            ``(batch, embed_dims[i], H / 2 ** (i + 2), W / 2 ** (i + 2))`` for each stage i of the outputs, sides
            rounded up.
        """
        x = self.patch_embed(x)
        maps = []
        for stage in range(max(self.config.outputs) + 1):
            found, x = self.layers[stage](x)
            if stage in self.config.outputs:
                maps.append(self.extra_norms[stage](found).permute(0, 3, 1, 2).contiguous())
        return maps


def rmt(variant: str, in_chans: int = 3, **changes: Any) -> RMT:
    """One of the published backbones with random weights.

    Args:
        variant: ``t``, ``s``, ``b`` or ``l``.
        in_chans: Channels of the picture.
        changes: Fields of `RMTConfig` that are to differ, such as ``rotary=True`` for the published weights.

    Raises:
        ValueError: No such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"RMT comes as {', '.join(VARIANTS)}, not {variant!r}")
    return RMT(replace(VARIANTS[variant], **changes), in_chans)


def _begin(module: nn.Module) -> None:
    """Initial weights: a normal distribution of 0.02 cut at two sigma for linear layers, as transformers commonly do."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
