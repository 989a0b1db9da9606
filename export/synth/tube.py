"""Blood-collection tubes in a rack, seen from the side; the blood column is the class ``capp``."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lineside.export.synth.raster import Sprite, coverage, paint
from lineside.export.synth.texture import smooth_noise

__all__ = ["draw_tube"]

CAPS = ((180, 70, 150), (45, 45, 195), (190, 140, 50), (70, 150, 60), (60, 190, 225), (125, 125, 128))
"""Stopper colours, BGR: lavender, red, light blue, green, yellow, grey."""


@dataclass(frozen=True)
class _Glass:
    """Geometry of one upright tube in its sprite, px: axis, half width, and rows from top to bottom."""

    axis: float
    half: float
    top: float
    bottom: float

    def column(self, level: float, inset: float, sag: float) -> NDArray[np.float32]:
        """Outline of what fills the tube from a level down: meniscus, walls, round bottom; (K, 2) float32."""
        half = self.half - inset
        across = np.linspace(-1, 1, 13)
        surface = np.stack([self.axis + across * half, level + sag * (1 - across**2)], 1)
        depth = min(half * 1.05, self.bottom - inset - level - sag - 1)
        turn = np.linspace(0, np.pi, 17)
        floor = self.bottom - inset - depth
        cup = np.stack([self.axis + half * np.cos(turn), floor + depth * np.sin(turn)], 1)
        return np.concatenate([surface, cup]).astype(np.float32)

    def layer(self, upper: float, lower: float, inset: float, sag: float) -> NDArray[np.float32]:
        """Outline of a layer between two levels, (K, 2) float32."""
        half = self.half - inset
        across = np.linspace(-1, 1, 13)
        first = np.stack([self.axis + across * half, upper + sag * (1 - across**2)], 1)
        second = np.stack([self.axis - across * half, lower + sag * (1 - across**2)], 1)
        return np.concatenate([first, second]).astype(np.float32)


def draw_tube(length: float, width: float, rng: np.random.Generator, filled: bool) -> Sprite:
    """Draws one upright tube.

    Args:
        length: From the top of the stopper to the round bottom, px.
        width: Outer width of the glass, px.
        rng: Source of randomness.
        filled: Whether it holds blood; an empty tube has no labelled object.

    Returns:
        The sprite, with one polygon (the blood column) when filled.
    """
    cap_half, cap_height = width * 0.64, length * float(rng.uniform(0.11, 0.15))
    columns, rows = int(np.ceil(cap_half * 2)) + 6, int(np.ceil(length)) + 6
    glass = _Glass(columns / 2, width / 2, 3 + cap_height * 0.8, 3 + length)
    canvas = np.full((rows, columns, 3), 225, np.float32)
    sprite = Sprite(canvas, np.zeros((rows, columns), np.float32))
    across = (np.arange(columns, dtype=np.float32) + np.float32(0.5 - columns / 2)) / np.float32(width / 2)

    _body(sprite, glass, across, rng)
    level = glass.top + (glass.bottom - glass.top) * float(rng.uniform(0.22, 0.78))
    if filled:
        _fill(sprite, glass, across, rng, level)
    if rng.random() < 0.55:
        _sticker(sprite, glass, across, rng, level)
    _streaks(sprite, glass, across, rng)
    _stopper(sprite, glass, rng, cap_half, cap_height)
    return sprite


def _over(sprite: Sprite, colour: NDArray[np.float32], alpha: NDArray[np.float32]) -> None:
    """Paints on the sprite and makes it opaque there ("over" of Porter and Duff, 1984)."""
    total = alpha + sprite.alpha * (1 - alpha)
    share = np.where(total > 1e-6, alpha / np.maximum(total, 1e-6), 0).astype(np.float32)
    paint(sprite.colour, colour, share)
    sprite.alpha[:] = total


def _body(sprite: Sprite, glass: _Glass, across: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Empty glass: nearly clear in the middle, darker and denser at its walls."""
    outline = coverage(glass.column(glass.top, 0.0, 0.0), *sprite.alpha.shape)
    wall = np.clip(np.abs(across), 0, 1) ** 4
    tone = np.float32(rng.uniform(205, 235)) - 95 * wall[None, :, None]
    _over(sprite, np.broadcast_to(tone, sprite.colour.shape), outline * (np.float32(0.2) + np.float32(0.5) * wall))


def _fill(sprite: Sprite, glass: _Glass, across: NDArray[np.float32], rng: np.random.Generator, level: float) -> None:
    """Blood, and over it plasma (and gel) where the tube has been in a centrifuge."""
    rows, columns = sprite.alpha.shape
    inset, sag = max(1.0, glass.half * 0.09), glass.half * float(rng.uniform(0.05, 0.3))
    polygon = glass.column(level, inset, sag)
    mask = coverage(polygon, rows, columns)
    if rng.random() < 0.45:
        upper = glass.top + (level - glass.top) * float(rng.uniform(0.25, 0.7))
        plasma = np.array([rng.uniform(90, 140), rng.uniform(175, 205), rng.uniform(205, 228)], np.float32)
        shade = plasma * (1 - 0.2 * np.clip(np.abs(across), 0, 1) ** 3)[None, :, None]
        layer = coverage(glass.layer(upper, level, inset, sag), rows, columns)
        _over(sprite, np.broadcast_to(shade, sprite.colour.shape), layer * np.float32(0.75))
        if rng.random() < 0.5:
            gel = coverage(
                glass.layer(level - glass.half * float(rng.uniform(0.3, 0.8)), level, inset, sag), rows, columns
            )
            _over(sprite, np.full_like(sprite.colour, rng.uniform(185, 220)), gel * np.float32(0.85))
    blood = np.array([rng.uniform(14, 42), rng.uniform(8, 34), rng.uniform(80, 160)], np.float32)
    # The column is a cylinder: darker where the line of sight through it ends in the wall.
    round_ = 1.12 - 0.42 * np.clip(np.abs(across), 0, 1) ** 2
    down = np.linspace(1.08, 0.9, rows, dtype=np.float32)
    tone = blood * (round_[None, :] * down[:, None])[..., None] + smooth_noise(rows, columns, rng)[..., None] * 3
    _over(sprite, np.asarray(tone, np.float32), mask * np.float32(rng.uniform(0.9, 0.98)))
    rim = coverage(glass.layer(level - 0.8, level + 0.8, inset, sag), rows, columns)
    _over(sprite, np.broadcast_to(blood * np.float32(0.6), sprite.colour.shape), rim * mask)
    sprite.polygons.append(polygon)
    sprite.masks.append(mask)


def _sticker(
    sprite: Sprite, glass: _Glass, across: NDArray[np.float32], rng: np.random.Generator, level: float
) -> None:
    """A paper label with a bar code, above the blood."""
    room = level - glass.top - glass.half * 0.9
    if room < 12:
        return
    height = room * float(rng.uniform(0.4, 0.85))
    upper = glass.top + glass.half * 0.5 + float(rng.uniform(0, room - height))
    paper = np.full_like(sprite.colour, rng.uniform(225, 248))
    reach = int(height)
    bars = np.repeat(rng.random(reach // 2 + 1) < 0.45, 2)[:reach]
    first, half_code = int(upper), glass.half * 0.5
    left, right = int(glass.axis - half_code), int(glass.axis + half_code)
    for offset in np.flatnonzero(bars[int(reach * 0.15) : int(reach * 0.8)]):
        paper[first + int(reach * 0.15) + offset, left:right] = 35
    paper *= (1 - 0.3 * np.clip(np.abs(across), 0, 1) ** 3)[None, :, None]
    box = np.array([[-1, upper], [1, upper], [1, upper + height], [-1, upper + height]], np.float32) * np.array(
        [glass.half, 1], np.float32
    ) + np.array([glass.axis, 0], np.float32)
    _over(sprite, paper, coverage(box, *sprite.alpha.shape))


def _streaks(sprite: Sprite, glass: _Glass, across: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Reflections of the lamps: bright lines along the glass."""
    outline = coverage(glass.column(glass.top, 1.0, 0.0), *sprite.alpha.shape)
    for _ in range(int(rng.integers(1, 3))):
        at, sigma = float(rng.uniform(-0.7, 0.7)), float(rng.uniform(0.05, 0.12))
        line = np.exp(-(((across - at) / np.float32(sigma)) ** 2)) * np.float32(rng.uniform(0.2, 0.6))
        _over(sprite, np.full_like(sprite.colour, 245), np.asarray(outline * line, np.float32))


def _stopper(sprite: Sprite, glass: _Glass, rng: np.random.Generator, half: float, height: float) -> None:
    """The coloured, ribbed cap."""
    rows, columns = sprite.alpha.shape
    colour = np.array(CAPS[int(rng.integers(len(CAPS)))], np.float32) * np.float32(rng.uniform(0.8, 1.1))
    x = (np.arange(columns, dtype=np.float32) + np.float32(0.5)) - np.float32(glass.axis)
    round_ = np.sqrt(np.clip(1.05 - (x / half) ** 2, 0.02, 1))
    ribs = 1 + 0.1 * np.sin(np.arcsin(np.clip(x / half, -1, 1)) * 26)
    shade = colour * (0.45 + 0.6 * round_ * ribs)[None, :, None]
    fine = np.zeros((rows * 4, columns * 4), np.uint8)
    box = np.array([glass.axis - half, 3, glass.axis + half, 3 + height]) * 4
    corner = int(half)
    inner = (int(box[0]) + corner, int(box[1]) + corner, int(box[2]) - corner, int(box[3]) - corner)
    cv2.rectangle(fine, inner[:2], inner[2:], 255, -1)
    fine = cv2.dilate(fine, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * corner + 1, 2 * corner + 1)))
    cap = cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    _over(sprite, np.broadcast_to(np.asarray(shade, np.float32), sprite.colour.shape), np.asarray(cap, np.float32))
