"""What sets one RMT apart from another, and the published ones (arXiv 2309.11523)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STAGES", "VARIANTS", "RMTConfig"]

STAGES = 4


@dataclass(frozen=True)
class RMTConfig:
    """What sets one RMT apart from another; every tuple has one entry per stage.

    Attributes:
        embed_dims: Channels.
        depths: Blocks.
        num_heads: Heads of the retention.
        init_values: Exponent of the fastest decay.
        heads_ranges: How far the exponents of the heads reach beyond it.
        mlp_ratios: Channels of the feed-forward network in channels of the stage.
        chunk: The stage uses `MaSAd` instead of `MaSA`.
        layerscales: The residuals of the stage have trained factors.
        layer_init: Value that these factors begin with.
        rotary: Queries and keys are rotated by their position as well.
        drop_path: Chance that training leaves out a residual of the last block; it rises from 0 at the first one.
        extra_norms: A LayerNorm of its own in front of each output.
        outputs: Stages whose maps are returned, in rising order.
        checkpointing: Training keeps the inputs of blocks only and computes the rest again for the backward pass.

    Raises:
        ValueError: A tuple has not one entry per stage, or the outputs are none.
    """

    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    init_values: tuple[float, ...] = (2, 2, 2, 2)
    heads_ranges: tuple[float, ...] = (4, 4, 6, 6)
    mlp_ratios: tuple[float, ...] = (3, 3, 3, 3)
    chunk: tuple[bool, ...] = (True, True, False, False)
    layerscales: tuple[bool, ...] = (False, False, False, False)
    layer_init: float = 1e-6
    rotary: bool = False
    drop_path: float = 0.0
    extra_norms: bool = True
    outputs: tuple[int, ...] = (0, 1, 2, 3)
    checkpointing: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "outputs" and isinstance(value, tuple) and len(value) != STAGES:
                raise ValueError(f"RMT has {STAGES} stages, and {name} has {len(value)} entries")
        if not self.outputs or self.outputs != tuple(sorted(set(self.outputs) & set(range(STAGES)))):
            raise ValueError(f"outputs are stages from 0 to {STAGES - 1} in rising order, not {self.outputs}")


VARIANTS: dict[str, RMTConfig] = {
    "t": RMTConfig((64, 128, 256, 512), (2, 2, 8, 2), (4, 4, 8, 16)),
    "s": RMTConfig(
        (64, 128, 256, 512), (3, 4, 18, 4), (4, 4, 8, 16), mlp_ratios=(4, 4, 3, 3), chunk=(True, True, True, False)
    ),
    "b": RMTConfig(
        (80, 160, 320, 512),
        (4, 8, 25, 8),
        (5, 5, 10, 16),
        heads_ranges=(5, 5, 6, 6),
        mlp_ratios=(4, 4, 3, 3),
        chunk=(True, True, True, False),
        layerscales=(False, False, True, True),
    ),
    "l": RMTConfig(
        (112, 224, 448, 640),
        (4, 8, 25, 8),
        (7, 7, 14, 20),
        heads_ranges=(6, 6, 6, 6),
        mlp_ratios=(4, 4, 3, 3),
        chunk=(True, True, True, False),
        layerscales=(False, False, True, True),
    ),
}
"""The published models RMT-T, S, B and L."""
