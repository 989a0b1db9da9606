"""Ball bearings seen along their axis, with dents, rust and scratches (class ``Defect``)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lineside.export.synth.raster import Sprite, coverage, paint, polygon_area
from lineside.export.synth.texture import smooth_noise

__all__ = ["SMALLEST", "blob", "draw_bearing"]

SMALLEST = 6.0
"""Smallest defect, px: square root of its area."""

DEFECTS = ("dent", "rust", "scratch")


@dataclass(frozen=True)
class _Polar:
    """A bearing's own coordinates: distance from the axis (px) and angle, on the sprite's grid."""

    radius: float
    distance: NDArray[np.float32]
    angle: NDArray[np.float32]

    def ring(self, inner: float, outer: float) -> NDArray[np.float32]:
        """Coverage of the annulus between two radii given as shares of the outer radius, (h, w) 0..1."""
        near = np.clip(self.distance - inner * self.radius + 0.5, 0, 1)
        return np.asarray(near * np.clip(outer * self.radius - self.distance + 0.5, 0, 1), np.float32)

    def edge(self, at: float, width: float) -> NDArray[np.float32]:
        """A soft line along the circle at a share of the radius; `width` is its sigma, px."""
        return np.asarray(np.exp(-(((self.distance - at * self.radius) / width) ** 2)), np.float32)


def draw_bearing(
    radius: float, rng: np.random.Generator, defects: int, largest: float = 60.0, smallest: float = SMALLEST
) -> Sprite:
    """Draws one bearing with a number of defects.

    Args:
        radius: Outer radius, px.
        rng: Source of randomness.
        defects: Wanted number of defects; fewer where no free place is found.
        largest: Size (square root of the area) above which no defect is drawn, px; the width of the ring
            that carries it limits it too.
        smallest: Size below which none is drawn, px.

    Returns:
        A square sprite, with one polygon per defect.
    """
    side = 2 * int(np.ceil(radius)) + 4
    grid = np.arange(side, dtype=np.float32) + np.float32(0.5 - side / 2)
    polar = _Polar(radius, np.hypot(grid[None, :], grid[:, None]), np.arctan2(grid[:, None], grid[None, :]))
    bore = float(rng.uniform(0.36, 0.46))
    inner, outer = bore + float(rng.uniform(0.14, 0.19)), float(rng.uniform(0.77, 0.85))
    light = float(rng.uniform(0, 2 * np.pi))

    canvas = _steel(polar, rng, light)
    zones = [(bore, inner), (outer, 1.0)]
    kind = int(rng.integers(3))
    if kind == 0:
        _balls(canvas, polar, rng, inner, outer, light)
    else:
        _shield(canvas, polar, rng, inner, outer, light, rubber=kind == 1)
        zones += [(inner, outer), (inner, outer)]
    for at in (bore, inner, outer, 1.0):
        rim = np.cos(polar.angle - light) * 55 * polar.edge(at - 1.2 / radius, max(1.0, radius * 0.012))
        canvas += rim[..., None]
    sprite = Sprite(canvas, polar.ring(bore, 0.998))
    _defects(sprite, polar, rng, zones, light, defects, (smallest, largest))
    return sprite


def blob(rng: np.random.Generator, size: float, elongation: float, angle: float) -> NDArray[np.float32]:
    """An irregular closed outline about the origin.

    Args:
        rng: Source of randomness.
        size: Square root of its area, px.
        elongation: Length over width.
        angle: Direction of its length, radians.

    Returns:
        (32, 2) float32 polygon.
    """
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    reach = np.ones(32)
    for harmonic, strength in ((2, 0.16), (3, 0.13), (5, 0.06), (8, 0.03)):
        reach += strength * rng.uniform(-1, 1) * np.sin(harmonic * turn + rng.uniform(0, 2 * np.pi))
    x, y = reach * np.cos(turn) * np.sqrt(elongation), reach * np.sin(turn) / np.sqrt(elongation)
    cosine, sine = np.cos(angle), np.sin(angle)
    outline = np.stack([x * cosine - y * sine, x * sine + y * cosine], 1).astype(np.float32)
    return np.asarray(outline * (size / np.sqrt(polygon_area(outline))), np.float32)


def _steel(polar: _Polar, rng: np.random.Generator, light: float) -> NDArray[np.float32]:
    """Turned steel: highlights that follow the angle, fine concentric marks, cloudy stains."""
    side = len(polar.distance)
    shade = rng.uniform(125, 165) + rng.uniform(25, 50) * np.cos(2 * (polar.angle - light))
    shade = shade + rng.uniform(4, 14) * np.cos(int(rng.integers(3, 7)) * polar.angle + rng.uniform(0, 6))
    marks = rng.standard_normal(2 * side).astype(np.float32)
    index = np.minimum((polar.distance * 1.6).astype(np.int32), 2 * side - 1)
    shade = shade + marks[index] * rng.uniform(2, 6) + smooth_noise(side, side, rng) * rng.uniform(2, 5)
    tint = np.array([rng.uniform(0.97, 1.05), 1.0, rng.uniform(0.94, 1.0)])
    return np.asarray(shade[..., None] * tint, np.float32)


def _balls(
    canvas: NDArray[np.float32], polar: _Polar, rng: np.random.Generator, inner: float, outer: float, light: float
) -> None:
    """An open race: dark gap, cage, balls with a highlight."""
    side = len(polar.distance)
    paint(
        canvas,
        np.array([38, 40, 42], np.float32) + smooth_noise(side, side, rng)[..., None] * 3,
        polar.ring(inner, outer),
    )
    middle, gap = (inner + outer) / 2, outer - inner
    brass = rng.random() < 0.4
    cage = np.array([70, 130, 165] if brass else [105, 105, 108], np.float32)
    cage_shade = cage * (1 + 0.25 * np.cos(2 * (polar.angle - light)))[..., None]
    paint(canvas, cage_shade, polar.ring(middle - gap * 0.2, middle + gap * 0.2))
    count, start = int(rng.integers(8, 13)), float(rng.uniform(0, np.pi))
    size = min(gap * 0.37, np.pi * middle / count * 0.85) * polar.radius
    grid = np.arange(side, dtype=np.float32) + np.float32(0.5 - side / 2)
    for turn in start + 2 * np.pi * np.arange(count) / count:
        x = np.cos(turn) * middle * polar.radius
        y = np.sin(turn) * middle * polar.radius
        offset = np.hypot(grid[None, :] - x, grid[:, None] - y)
        glint = np.hypot(
            grid[None, :] - x - np.cos(light) * size * 0.35, grid[:, None] - y - np.sin(light) * size * 0.35
        )
        ball = 95 + 60 * (1 - np.clip(glint / (1.4 * size), 0, 1)) + 95 * np.exp(-((glint / (0.22 * size)) ** 2))
        paint(canvas, np.asarray(ball[..., None], np.float32), np.clip(size - offset + 0.5, 0, 1))


def _shield(
    canvas: NDArray[np.float32],
    polar: _Polar,
    rng: np.random.Generator,
    inner: float,
    outer: float,
    light: float,
    rubber: bool,
) -> None:
    """A closed race: rubber seal or steel shield, with a pressed groove and a printed designation."""
    side = len(polar.distance)
    if rubber:
        base = np.array([[38, 40, 42], [36, 46, 80], [95, 60, 35]][int(rng.choice(3, p=[0.7, 0.2, 0.1]))], np.float32)
        shade = (
            base * (1 + 0.35 * np.cos(polar.angle - light))[..., None] + smooth_noise(side, side, rng)[..., None] * 2
        )
    else:
        level = rng.uniform(135, 175) + 35 * np.cos(2 * (polar.angle - light) + rng.uniform(-0.6, 0.6))
        shade = np.repeat((level + smooth_noise(side, side, rng) * 4)[..., None], 3, axis=2)
    paint(canvas, np.asarray(shade, np.float32), polar.ring(inner + 0.012, outer - 0.012))
    for at in (inner + 0.02, outer - 0.02):
        canvas += (-30 * polar.edge(at, max(1.0, polar.radius * 0.01)))[..., None]
    groove = inner + (outer - inner) * float(rng.uniform(0.2, 0.4))
    canvas += (18 * np.cos(polar.angle - light) * polar.edge(groove, max(1.2, polar.radius * 0.015)))[..., None]
    ink = 150.0 if rubber else 85.0
    _designation(canvas, polar, rng, (inner + outer) / 2 + (outer - inner) * 0.18, (outer - inner) * 0.3, ink)


def _designation(
    canvas: NDArray[np.float32], polar: _Polar, rng: np.random.Generator, at: float, height: float, ink: float
) -> None:
    """Prints a designation such as ``6204-2RS`` along a circle; part of a good bearing, so never labelled."""
    text = f"{rng.choice([60, 62, 63])}{rng.integers(0, 10):02d}-{rng.choice(['2RS', 'ZZ', '2Z'])} "
    text += str(rng.choice(["C3", "P5", "LS 4", "KX 7"]))
    pixels = max(4.0, height * polar.radius * 0.75)
    scale = pixels / 22
    (width, tall), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    strip = np.zeros((tall + below + 4, width + 4), np.uint8)
    cv2.putText(strip, text, (2, tall + 1), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1, cv2.LINE_AA)
    start = float(rng.uniform(-np.pi, np.pi))
    turn = np.mod(polar.angle - start, 2 * np.pi).astype(np.float32)
    columns = turn * np.float32(at * polar.radius)
    rows = np.float32(at * polar.radius + strip.shape[0] / 2) - polar.distance
    printed = cv2.remap(strip.astype(np.float32) / 255, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    paint(canvas, np.float32(ink), np.asarray(printed * rng.uniform(0.35, 0.8), np.float32))


def _defects(
    sprite: Sprite,
    polar: _Polar,
    rng: np.random.Generator,
    zones: list[tuple[float, float]],
    light: float,
    count: int,
    sizes: tuple[float, float],
) -> None:
    """Adds defects that lie inside one zone each and do not touch each other."""
    side = len(polar.distance)
    taken = np.zeros((side, side), bool)
    smallest, largest = sizes
    for _ in range(count):
        kind = DEFECTS[int(rng.integers(len(DEFECTS)))]
        near, far = zones[int(rng.integers(len(zones)))]
        room = (far - near) * polar.radius * 0.92
        elongation = float(
            {"dent": rng.uniform(1, 1.5), "rust": rng.uniform(1, 2), "scratch": rng.uniform(5, 10)}[kind]
        )
        # Its width must fit the zone: width = size / sqrt(elongation) for an elongated outline along the ring.
        most = min(largest, room * np.sqrt(elongation) * 0.87)
        if kind == "scratch":
            most = min(most, largest * 0.45)  # long, but narrow
        if most <= smallest:
            continue
        # Most of them even in size, the rest even in its logarithm: small ones must not crowd out the others.
        share = float(rng.uniform())
        even = smallest + (most - smallest) * share
        size = even if rng.random() < 0.7 else smallest * (most / smallest) ** share
        turn = float(rng.uniform(0, 2 * np.pi))
        outline = blob(rng, size, elongation, turn + np.pi / 2 + float(rng.uniform(-0.2, 0.2)))
        at = (near + far) / 2 * polar.radius
        slack = max(0.0, (room - size / np.sqrt(elongation) * 1.15) / 2)
        at += float(rng.uniform(-slack, slack))
        polygon = outline + np.array([side / 2 + at * np.cos(turn), side / 2 + at * np.sin(turn)], np.float32)
        mask = coverage(polygon, side, side)
        inside = polar.ring(near, far)
        solid = mask > 0.5
        if not solid.any() or (inside[solid] < 0.5).mean() > 0.02 or (taken & solid).any():
            continue
        taken |= cv2.dilate(solid.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        _draw_defect(sprite.colour, mask, kind, size, rng, light)
        sprite.polygons.append(polygon.astype(np.float32))
        sprite.masks.append(mask)


def _draw_defect(
    canvas: NDArray[np.float32],
    mask: NDArray[np.float32],
    kind: str,
    size: float,
    rng: np.random.Generator,
    light: float,
) -> None:
    """Paints one defect where its mask says: a pit with a lit rim, a rust patch, or a bright scratch."""
    side = len(mask)
    rough = smooth_noise(side, side, rng, octaves=6)[..., None]
    under = float(canvas[mask > 0.5].mean())
    shift = max(1, round(size * 0.12))
    dx, dy = round(np.cos(light) * shift), round(np.sin(light) * shift)
    rolled = np.roll(mask, (dy, dx), axis=(0, 1))
    if kind == "dent":
        # A pit in steel lies in the dark; one in black rubber lays bare lighter stuff.
        floor = (
            np.array([30, 32, 34], np.float32) + under * 0.15 if under > 85 else np.array([120, 124, 128], np.float32)
        )
        paint(canvas, floor + rough * 5, mask * np.float32(rng.uniform(0.8, 0.95)))
        paint(canvas, np.float32(min(250.0, under + 90)), mask * (1 - rolled) * np.float32(0.8))
    elif kind == "rust":
        tone = np.array([[38, 72, 128], [30, 60, 105], [50, 95, 160]][int(rng.integers(3))], np.float32)
        paint(canvas, tone * (1 + 0.16 * rough), mask * np.float32(rng.uniform(0.78, 0.95)))
    else:
        bright = np.float32(238 if under < 145 else 42)
        paint(canvas, bright + rough * 8, mask * np.float32(rng.uniform(0.75, 0.95)))
        paint(canvas, np.float32(40), mask * (1 - rolled) * np.float32(0.5))
