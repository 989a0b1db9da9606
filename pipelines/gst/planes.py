"""YUV planes as BGR, for as long as nothing takes them as they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from lineside.pipelines.frame import Pixels

__all__ = ["yuv"]

_FACTORS = {"bt601": (1.402, 0.344136, 0.714136, 1.772), "bt709": (1.5748, 0.187324, 0.468124, 1.8556)}


def yuv(form: str, planes: tuple[Pixels, ...], matrix: str, levels: str) -> Any:
    """Makes a BGR picture of the planes of one in YUV 4:2:0, chroma replicated.

    Args:
        form: ``NV12`` or ``I420``.
        planes: Luma, then chroma.
        matrix: ``bt601`` or ``bt709``.
        levels: ``limited`` or ``full``.

    Returns:
        ``(H, W, 3)`` uint8 BGR.
    """
    height, width = planes[0].shape
    halves = (planes[1][..., 0], planes[1][..., 1]) if form == "NV12" else planes[1:]
    luma = planes[0].astype(np.float32)
    u, v = (np.repeat(np.repeat(it, 2, 0), 2, 1)[:height, :width].astype(np.float32) - 128 for it in halves)
    if levels == "limited":
        luma = (luma - 16) * np.float32(255 / 219)
        u, v = u * np.float32(255 / 224), v * np.float32(255 / 224)
    red, green_u, green_v, blue = _FACTORS[matrix]
    channels = (luma + blue * u, luma - green_u * u - green_v * v, luma + red * v)
    return np.clip(np.rint(np.stack(channels, -1)), 0, 255).astype(np.uint8)
