"""One map out of several."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["Tap"]


class Tap(nn.Module):
    """Picks one of the maps that a layer returns, for the layers behind, which read one each.

    Row: ``[LAYER, 1, Tap, [WHICH]]``.

    Args:
        channels: Channels of the maps that come in.
        which: Number of the map, from 0.

    Raises:
        ValueError: There is no such map.
    """

    lineside_args = ("c1",)

    def __init__(self, channels: Sequence[int], which: int) -> None:
        super().__init__()
        if not isinstance(channels, (tuple, list)):
            raise ValueError("the layer that it reads returns one map and no list of them")
        if isinstance(which, bool) or not isinstance(which, int):
            raise ValueError(f"the number of a map counts from 0, and {which!r} is none")
        if not 0 <= which < len(channels):
            raise ValueError(f"the layer that it reads returns {len(channels)} maps, and map {which} was asked for")
        self.which = which
        self.out_channels = int(channels[which])

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The map, shape (N, C, H, W)."""
        return maps[self.which]
