"""RMT: retention with Manhattan decay, its blocks and its backbones (arXiv 2309.11523)."""

from lineside.export.modules.rmt.attention import DWConv2d, MaSA, MaSAd
from lineside.export.modules.rmt.backbone import (
    RMT,
    FeedForwardNetwork,
    PatchEmbed,
    PatchMerging,
    RetBlock,
    RetStage,
    rmt,
)
from lineside.export.modules.rmt.config import VARIANTS, RMTConfig
from lineside.export.modules.rmt.positions import Relation, RelPos2d

__all__ = [
    "RMT",
    "VARIANTS",
    "DWConv2d",
    "FeedForwardNetwork",
    "MaSA",
    "MaSAd",
    "PatchEmbed",
    "PatchMerging",
    "RMTConfig",
    "RelPos2d",
    "Relation",
    "RetBlock",
    "RetStage",
    "rmt",
]
