"""Names of the blocks that a model yaml may hold beside those of ultralytics, and where they live."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

__all__ = ["ALIASES", "BLOCKS", "block_class", "is_ours"]

BLOCKS: Mapping[str, str] = {
    "C2PSA_MaSA": "lineside.export.yolo.rmt:C2PSA_MaSA",
    "C2PSA_MaSAd": "lineside.export.yolo.rmt:C2PSA_MaSAd",
    "C3k2_CG": "lineside.export.yolo.cg:C3k2_CG",
    "C3k2_DCNv2": "lineside.export.yolo.dcn:C3k2_DCNv2",
    "C3k2_FastKAN": "lineside.export.yolo.kan:C3k2_FastKAN",
    "C3k2_SS2D": "lineside.export.yolo.ss2d:C3k2_SS2D",
    "C3k2_UniRepLK": "lineside.export.yolo.unireplk:C3k2_UniRepLK",
    "CGDown": "lineside.export.yolo.cg:CGDown",
    "FreqFusionCat": "lineside.export.yolo.freqfusion:FreqFusionCat",
    "MSDeformEncoder": "lineside.export.yolo.msda:MSDeformEncoder",
    "RMTBackbone": "lineside.export.yolo.rmt:RMTBackbone",
    "Segment_DyHead": "lineside.export.yolo.dyhead:Segment_DyHead",
    "Segment_Focus": "lineside.export.yolo.focus:Segment_Focus",
    "Tap": "lineside.export.yolo.tap:Tap",
    "UniRepLKNetBackbone": "lineside.export.yolo.unireplk:UniRepLKNetBackbone",
}
"""Where each block lives, as ``module:class``; the module is imported when a model names the block."""

ALIASES: Mapping[str, str] = {
    "C3k2_ContextGuided": "lineside.export.yolo.community:C3k2_ContextGuided",
    "C3k2_UniRepLKNetBlock": "lineside.export.yolo.community:C3k2_UniRepLKNetBlock",
    "ContextGuidedBlock_Down": "lineside.export.yolo.community:ContextGuidedBlock_Down",
}
"""The same for names that only other people's model yamls have; ``C3k2_DCNv2`` and ``Segment_DyHead`` are theirs too."""


def is_ours(name: Any) -> bool:
    """Whether a row of a model yaml that has this name is one of our blocks."""
    return isinstance(name, str) and (name in BLOCKS or name in ALIASES)


def block_class(name: str) -> type:
    """The class of a block.

    Args:
        name: A name of `BLOCKS` or `ALIASES`.
    """
    module, _, attribute = (BLOCKS[name] if name in BLOCKS else ALIASES[name]).partition(":")
    found: type = getattr(importlib.import_module(module), attribute)
    return found
