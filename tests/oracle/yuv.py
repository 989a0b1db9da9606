"""Luma and chroma to BGR, once more: factors from the standards' own numbers, one plain formula over whole pictures."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.yuv import Yuv

Array = npt.NDArray[Any]
KR_KB = {"bt601": (Fraction("0.299"), Fraction("0.114")), "bt709": (Fraction("0.2126"), Fraction("0.0722"))}
"""Share of red and of blue in luma: ITU-R BT.601-7 and BT.709-6."""
OPENCV = [Fraction(word) for word in ("1.164", "1.596", "-0.391", "-0.813", "2.018")]
"""What OpenCV takes for BT.601 with limited range."""


def exact_factors(matrix: str, full: bool) -> list[Fraction]:
    """Of luma; of V in red; of U and of V in green; of U in blue."""
    red, blue = KR_KB[matrix]
    green = 1 - red - blue
    luma, chroma = (Fraction(1), Fraction(1)) if full else (Fraction(255, 219), Fraction(255, 224))
    v_red, u_blue = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    return [luma, v_red, -u_blue * blue / green, -v_red * red / green, u_blue]


def factors(matrix: str, full: bool) -> list[int]:
    """The same times 2**20, rounded; OpenCV's decimals where it has a rule of its own."""
    if matrix == "bt601" and not full:
        return [round(factor * 2**20) for factor in OPENCV]
    return [round(factor * 2**20) for factor in exact_factors(matrix, full)]


def spread(chroma: Array, height: int, width: int) -> Array:
    """A chroma plane with a value for each pixel, less 128."""
    return chroma[np.arange(height) // 2][:, np.arange(width) // 2].astype(np.int64) - 128


def bgr(luma: Array, u: Array, v: Array, matrix: str, full: bool) -> Array:
    """(H, W, 3) uint8 from luma (H, W) and chroma."""
    grey, v_red, u_green, v_green, u_blue = factors(matrix, full)
    bright = np.maximum(luma.astype(np.int64) - (0 if full else 16), 0) * grey
    us, vs = (spread(plane, *luma.shape) for plane in (u, v))
    sums = np.stack([bright + us * u_blue, bright + us * u_green + vs * v_green, bright + vs * v_red], -1)
    return np.clip((sums + 2**19) // 2**20, 0, 255).astype(np.uint8)


def noise(height: int, width: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Luma, U and V of a picture."""
    rng = np.random.default_rng(seed)
    chroma = (height + 1) // 2, (width + 1) // 2
    luma, u, v = (rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((height, width), chroma, chroma))
    return luma, u, v


def _padded(plane: Array) -> Array:
    """Rows with room behind them that is not a multiple of anything."""
    wide = np.full((plane.shape[0], plane.shape[1] + 5, *plane.shape[2:]), 77, np.uint8)
    wide[:, : plane.shape[1]] = plane
    return wide[:, : plane.shape[1]]


def _spread_out(plane: Array) -> Array:
    """Every second value of every second row."""
    wide = np.full((2 * plane.shape[0], 2 * plane.shape[1], *plane.shape[2:]), 77, np.uint8)
    wide[::2, ::2] = plane
    return wide[::2, ::2]


def _odd_address(plane: Array) -> Array:
    block = np.zeros(plane.size + 1, np.uint8)
    block[1:] = plane.ravel()
    return block[1:].reshape(plane.shape)


def _locked(plane: Array) -> Array:
    plane = plane.copy()
    plane.flags.writeable = False
    return plane


STRIDES = {
    "packed": np.ascontiguousarray,
    "padded rows": _padded,
    "bottom up": lambda plane: plane[::-1].copy()[::-1],
    "mirrored": lambda plane: plane[:, ::-1].copy()[:, ::-1],
    "every second value": _spread_out,
    "fortran": np.asfortranarray,
    "odd address": _odd_address,
    "read-only": _locked,
}


def layouts(luma: Array, u: Array, v: Array, matrix: Any, span: Any) -> Iterator[tuple[str, Yuv]]:
    """One picture in both formats and every layout of memory, each with its name."""
    both = np.stack([u, v], -1)
    for name, lay in STRIDES.items():
        yield f"NV12 {name}", Yuv("NV12", (lay(luma), lay(both)), matrix, span)
        yield f"I420 {name}", Yuv("I420", (lay(luma), lay(u), lay(v)), matrix, span)
    yield "NV21 memory", Yuv("NV12", (luma, both[..., ::-1].copy()[..., ::-1]), matrix, span)
    yield "planes of NV12 each", Yuv("I420", (luma, both[..., 0], both[..., 1]), matrix, span)
    yield "U and V apart", Yuv("NV12", (luma, np.stack([u, v]).transpose(1, 2, 0)), matrix, span)
    yield "one V plane upside down", Yuv("I420", (luma, u, v[::-1].copy()[::-1]), matrix, span)
