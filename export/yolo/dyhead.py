"""A YOLO segmentation head behind a dynamic head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules.block import Proto
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.modules.head import Segment

from lineside.export.modules.dyhead import DyHead, HighLevelOffset

__all__ = ["Segment_DyHead"]


class Segment_DyHead(Segment):  # noqa: N801 - the name in model yamls
    """Segment whose towers read levels that went through a `DyHead`; prototypes are made of the finest level itself.

    Row: ``[[P3, P4, P5], 1, Segment_DyHead, [nc, nm, npr, hid, blocks]]``. Neither ``hid`` nor ``blocks`` is scaled.

    Args:
        nc: Number of classes.
        nm: Number of mask coefficients.
        npr: Channels within the prototype branch.
        hid: Channels of the dynamic head, a multiple of 16.
        blocks: Number of its blocks.
        reg_max: Bins of the box distribution.
        end2end: Whether the head has a one-to-one part.
        ch: Channels of the levels.
        high_level_offset: See `lineside.export.modules.dyhead.DyHeadBlock`.

    Attributes:
        inlets: Bring each level to ``hid`` channels.
        dyhead: The dynamic head.
    """

    def __init__(
        self,
        nc: int = 80,
        nm: int = 32,
        npr: int = 256,
        hid: int = 64,
        blocks: int = 1,
        reg_max: int = 16,
        end2end: bool = False,
        ch: Sequence[int] = (),
        high_level_offset: HighLevelOffset = "crop",
    ) -> None:
        super().__init__(nc, nm, npr, reg_max, end2end, (hid,) * len(ch))
        self.proto = Proto(ch[0], self.npr, self.nm)
        self.inlets = nn.ModuleList(Conv(channels, hid) for channels in ch)
        self.dyhead = DyHead(hid, hid, blocks, high_level_offset)

    def towers(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What the towers (``cv2``, ``cv3``, ``cv4``) read, ``hid`` channels each, for the levels as they come in."""
        found: list[torch.Tensor] = self.dyhead(
            [inlet(level) for inlet, level in zip(self.inlets, features, strict=True)]
        )
        return found

    def forward_head(
        self,
        x: list[torch.Tensor],
        box_head: nn.Module | None = None,
        cls_head: nn.Module | None = None,
        mask_head: nn.Module | None = None,
    ) -> dict[str, Any]:
        """Raw predictions of one part of the head, for the levels as they come in."""
        if box_head is None:  # this part was dropped when the model was fused
            return {}
        levels = self.towers(x)
        if self.training and box_head is getattr(self, "one2one_cv2", None):
            levels = [level.detach() for level in levels]  # the one-to-one part teaches nothing but itself
        found: dict[str, Any] = super().forward_head(levels, box_head, cls_head, mask_head)
        return found
