"""Surfaces: smooth noise, and the backgrounds that parts lie on.

Some backgrounds are real photographs taken from an installed scikit-image (its pictures ``brick``, ``gravel``,
``grass`` and ``coins`` are in the public domain). They are read where that package is there and never copied into
Lineside; without it the procedural surfaces take their place.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["background", "photographs", "smooth_noise"]

PHOTOGRAPHS = ("brick.png", "gravel.png", "grass.png", "coins.png")
"""Files of ``skimage/data`` used as backgrounds; which of them a wheel holds differs between versions."""


def smooth_noise(height: int, width: int, rng: np.random.Generator, octaves: int = 4) -> NDArray[np.float32]:
    """Cloudy value noise: octaves of random grids, enlarged by cubic interpolation, amplitude 1/k for octave k.

    Args:
        height: Rows of the result, px.
        width: Columns of the result, px.
        rng: Source of randomness.
        octaves: Number of grids; the coarsest has about 4 cells per 256 px.

    Returns:
        (height, width) float32, mean about 0, standard deviation about 1.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cells = 2 ** (octave + 2)
        shape = (max(2, height * cells // 256), max(2, width * cells // 256))
        grid = rng.standard_normal(shape, np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / np.float32(octave + 1)
    return total


@lru_cache(maxsize=1)
def photographs() -> tuple[NDArray[np.uint8], ...]:
    """The photographs that the installed scikit-image holds, (H, W, 3) uint8 BGR; empty without that package."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        return ()
    folder = Path(spec.origin).parent / "data"
    read = (cv2.imread(str(folder / name), cv2.IMREAD_COLOR) for name in PHOTOGRAPHS)
    return tuple(np.asarray(picture, np.uint8) for picture in read if picture is not None)


def background(
    height: int, width: int, rng: np.random.Generator, level: tuple[float, float], photos: bool
) -> NDArray[np.float32]:
    """A surface for parts to lie on: belt, brushed sheet, cloth, or a photograph.

    Args:
        height: Rows, px.
        width: Columns, px.
        rng: Source of randomness. The same draws are made with and without photographs.
        level: Range of the mean grey value, 0..255.
        photos: Use photographs of an installed scikit-image for about a third of the surfaces.

    Returns:
        (height, width, 3) float32 BGR, about 0..255, not clipped.
    """
    grey = float(rng.uniform(*level))
    tint = np.array([rng.uniform(0.94, 1.06), 1.0, rng.uniform(0.94, 1.06)], np.float32)
    kind = int(rng.integers(6))
    child = np.random.default_rng(rng.integers(2**63))
    if kind >= 4 and photos and photographs():
        return _photograph(height, width, child, grey)
    surface = (_belt, _sheet, _cloth, _plain)[kind % 4]
    return np.asarray((grey + surface(height, width, child))[..., None] * tint, np.float32)


def _plain(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return smooth_noise(height, width, rng) * np.float32(rng.uniform(1, 5))


def _belt(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Rubber belt: fine diamond pattern under cloudy wear."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    pitch = float(rng.uniform(5, 12))
    weave = np.sin((rows + columns) * 2 * np.pi / pitch) * np.sin((rows - columns) * 2 * np.pi / pitch)
    return np.asarray(weave * rng.uniform(1, 6) + smooth_noise(height, width, rng) * 4, np.float32)


def _sheet(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Brushed sheet: streaks along one axis."""
    streaks = cv2.blur(rng.standard_normal((height, width), np.float32), (int(rng.integers(15, 41)), 1))
    if rng.random() < 0.5:
        streaks = cv2.resize(np.ascontiguousarray(streaks.T), (width, height))
    return np.asarray(streaks * rng.uniform(10, 30) + smooth_noise(height, width, rng) * 3, np.float32)


def _cloth(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Lint-free cloth: grain at pixel scale."""
    grain = cv2.GaussianBlur(rng.standard_normal((height, width), np.float32), (0, 0), float(rng.uniform(0.6, 1.4)))
    return np.asarray(grain * rng.uniform(6, 16) + smooth_noise(height, width, rng) * 4, np.float32)


def _photograph(height: int, width: int, rng: np.random.Generator, grey: float) -> NDArray[np.float32]:
    """A random crop of a photograph, mirrored at random, brought to the wanted mean with reduced contrast."""
    pictures = photographs()
    picture = pictures[int(rng.integers(len(pictures)))]
    side = int(min(picture.shape[:2]) * rng.uniform(0.45, 1.0))
    top = int(rng.integers(picture.shape[0] - side + 1))
    left = int(rng.integers(picture.shape[1] - side + 1))
    crop = picture[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    large = max(height, width)
    resized = cv2.resize(np.ascontiguousarray(crop), (large, large), interpolation=cv2.INTER_AREA)
    flat = resized[:height, :width].astype(np.float32)
    return np.asarray((flat - flat.mean()) * rng.uniform(0.3, 0.7) + grey, np.float32)
