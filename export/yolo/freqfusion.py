"""Frequency-aware fusion in the neck of a YOLO model, where it would upsample and concatenate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lineside.export.modules.freqfusion import FreqFusion
from lineside.runtime.errors import BadOption

__all__ = ["FreqFusionCat"]

COMPRESSION = 8
"""Channels of both maps together, over those that the kernels are made from."""


class FreqFusionCat(FreqFusion):
    """FreqFusion of a fine and a coarse map, concatenated: in place of an ``Upsample`` and the ``Concat`` behind it.

    Row: ``[[FINE, COARSE], 1, FreqFusionCat, [{lp: 5, hp: 3, resample: false}]]``, every argument optional. The result
    has the coarse map's channels first, as ultralytics' necks have them, so that weights trained on the plain neck fit
    what follows.

    Args:
        channels: Channels of both maps, the fine one first.
        lp: Taps of the low-pass filter along each axis.
        hp: Taps of the high-pass filter along each axis.
        resample: Whether the coarse map is resampled by local similarity.
        compressed: Channels that the kernels are made from; an eighth of both maps' together when None.
        options: More arguments of `lineside.export.modules.freqfusion.FreqFusion`.

    Raises:
        BadOption: There are not two maps, or FreqFusion cannot be built so.
    """

    lineside_args = ("channels",)

    def __init__(
        self,
        channels: Sequence[int],
        lp: int = 5,
        hp: int = 3,
        resample: bool = False,
        compressed: int | None = None,
        **options: Any,
    ) -> None:
        if len(channels) != 2 or not all(isinstance(number, int) for number in channels):
            raise BadOption(
                "FreqFusionCat joins two maps: its row reads [FINE, COARSE], two layers that return one map"
            )
        fine, coarse = channels
        inner = compressed if compressed is not None else max((fine + coarse) // COMPRESSION, 1)
        super().__init__(fine, coarse, inner, lp, hp, feature_resample=resample, **options)
        self.out_channels = fine + coarse

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
        """Fuses ``[(N, C1, 2 H, 2 W), (N, C2, H, W)]`` to ``(N, C2 + C1, 2 H, 2 W)``.

        Raises:
            BadOption: The first map is not twice as high and wide as the second.
        """
        _, fine, coarse = super().forward(*maps)
        return torch.cat([coarse, fine], 1)
