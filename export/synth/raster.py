"""Sprites and polygons: exact coverage, compositing, clipping.

Coordinates are continuous picture coordinates, px: pixel (row i, column j) covers [j, j+1) x [i, i+1), as in the
YOLO label format, where a label is such a coordinate divided by the width or height.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Sprite", "clip_polygon", "coverage", "paint", "place", "polygon_area", "rotate", "shadow"]

SUPERSAMPLING = 8
"""Sub-pixels per pixel and axis in `coverage`."""


@dataclass
class Sprite:
    """A drawn part, before it lies anywhere.

    Attributes:
        colour: (h, w, 3) float32 BGR, about 0..255.
        alpha: (h, w) float32, 0..1.
        polygons: Labelled objects, (K, 2) float32 in the sprite's coordinates.
        masks: For each polygon the coverage that was really drawn, (h, w) float32, 0..1.
    """

    colour: NDArray[np.float32]
    alpha: NDArray[np.float32]
    polygons: list[NDArray[np.float32]] = field(default_factory=list)
    masks: list[NDArray[np.float32]] = field(default_factory=list)


def polygon_area(polygon: NDArray[np.float32]) -> float:
    """Area of a simple polygon (K, 2), px² (shoelace formula)."""
    x, y = polygon[:, 0].astype(np.float64), polygon[:, 1].astype(np.float64)
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def coverage(polygon: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Share of each pixel that a polygon covers, by supersampling inside its bounding box.

    Args:
        polygon: (K, 2) float32, px.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        (height, width) float32, 0..1.
    """
    result = np.zeros((height, width), np.float32)
    x0, y0 = np.maximum(np.floor(polygon.min(0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(polygon.max(0)).astype(int) + 1, (width, height))
    if x1 <= x0 or y1 <= y0:
        return result
    fine = np.zeros(((y1 - y0) * SUPERSAMPLING, (x1 - x0) * SUPERSAMPLING), np.uint8)
    # A sub-pixel's centre lies half a sub-pixel off its index; 4 fractional bits keep what rounding would lose.
    points = ((polygon - (x0, y0)) * SUPERSAMPLING - 0.5) * 16
    cv2.fillPoly(fine, [np.round(points).astype(np.int32)], 255, cv2.LINE_8, 4)
    small = cv2.resize(fine, (int(x1 - x0), int(y1 - y0)), interpolation=cv2.INTER_AREA)
    result[y0:y1, x0:x1] = small.astype(np.float32) / 255
    return result


def paint(
    canvas: NDArray[np.float32], colour: NDArray[np.float32] | np.float32 | float, alpha: NDArray[np.float32]
) -> None:
    """Blends a colour into a canvas (h, w, 3) in place: ``canvas += (colour - canvas) * alpha``.

    Args:
        canvas: (h, w, 3) float32.
        colour: Anything that broadcasts to (h, w, 3).
        alpha: (h, w) float32, 0..1.
    """
    canvas += (colour - canvas) * alpha[..., None]


def rotate(sprite: Sprite, angle: float) -> Sprite:
    """A sprite turned about its centre by an angle in radians, on a canvas grown to hold it."""
    height, width = sprite.alpha.shape
    cosine, sine = np.cos(angle), np.sin(angle)
    new_w = int(np.ceil(abs(width * cosine) + abs(height * sine)))
    new_h = int(np.ceil(abs(width * sine) + abs(height * cosine)))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    shift = np.array([new_w, new_h]) / 2 - turn @ (np.array([width, height]) / 2)
    # OpenCV counts from pixel centres, polygons from pixel corners: half a pixel in, half a pixel out.
    matrix = np.hstack([turn, (turn @ [0.5, 0.5] + shift - 0.5)[:, None]])

    def warp(plane: NDArray[np.float32], border: int) -> NDArray[np.float32]:
        warped = cv2.warpAffine(plane, matrix, (new_w, new_h), flags=cv2.INTER_LINEAR, borderMode=border)
        return np.asarray(warped, np.float32)

    return Sprite(
        colour=warp(sprite.colour, cv2.BORDER_REPLICATE),
        alpha=warp(sprite.alpha, cv2.BORDER_CONSTANT),
        polygons=[np.asarray(p @ turn.T + shift, np.float32) for p in sprite.polygons],
        masks=[warp(mask, cv2.BORDER_CONSTANT) for mask in sprite.masks],
    )


def shadow(canvas: NDArray[np.float32], sprite: Sprite, x: int, y: int, offset: tuple[int, int], depth: float) -> None:
    """Darkens a canvas where a sprite placed at (x, y) throws its soft shadow.

    Args:
        canvas: (H, W, 3) float32, changed in place.
        sprite: The part.
        x: Column of the sprite's left edge, px.
        y: Row of its top edge, px.
        offset: Shift of the shadow in x and y, px.
        depth: Darkening under the part, 0..1.
    """
    reach = max(2, max(sprite.alpha.shape) // 24)
    soft = cv2.copyMakeBorder(sprite.alpha, reach * 2, reach * 2, reach * 2, reach * 2, cv2.BORDER_CONSTANT)
    soft = cv2.blur(cv2.blur(soft, (reach, reach)), (reach, reach))
    window = _window(canvas.shape[:2], soft.shape, x + offset[0] - reach * 2, y + offset[1] - reach * 2)
    if window is not None:
        target, source = window
        canvas[target] *= 1 - soft[source][..., None] * np.float32(depth)


def place(canvas: NDArray[np.float32], sprite: Sprite, x: int, y: int) -> list[tuple[NDArray[np.float32], int]]:
    """Lays a sprite on a canvas in place.

    Args:
        canvas: (H, W, 3) float32 BGR.
        sprite: The part; what lies outside the canvas is cut off.
        x: Column of its left edge, px; may be negative.
        y: Row of its top edge, px; may be negative.

    Returns:
        The labelled objects that are visible: (polygon (K, 2) float32 clipped to the canvas, index in the sprite).
    """
    height, width = canvas.shape[:2]
    window = _window((height, width), sprite.alpha.shape, x, y)
    if window is None:
        return []
    target, source = window
    paint(canvas[target], sprite.colour[source], sprite.alpha[source])
    moved = [clip_polygon(p + np.array([x, y], np.float32), height, width) for p in sprite.polygons]
    return [(polygon, index) for index, polygon in enumerate(moved) if len(polygon) >= 3]


def clip_polygon(polygon: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A polygon cut to the picture (Sutherland and Hodgman, 1974).

    Args:
        polygon: (K, 2) float32, px.
        height: Rows of the picture.
        width: Columns of the picture.

    Returns:
        (M, 2) float32; M is 0 where nothing of the polygon lies inside.
    """
    points = polygon.astype(np.float64)
    for axis, bound, sign in ((0, 0.0, 1), (0, width, -1), (1, 0.0, 1), (1, height, -1)):
        if len(points) == 0:
            break
        distance = (points[:, axis] - bound) * sign
        if (distance >= 0).all():
            continue
        kept: list[NDArray[np.float64]] = []
        for index in range(len(points)):
            before, here = points[index - 1], points[index]
            d_before, d_here = distance[index - 1], distance[index]
            if (d_before < 0) != (d_here < 0):
                kept.append(before + (here - before) * (d_before / (d_before - d_here)))
            if d_here >= 0:
                kept.append(here)
        points = np.array(kept).reshape(-1, 2)
    return np.asarray(np.clip(points, 0, (width, height)), np.float32)  # interpolation may miss a border by 1e-17


def _window(
    canvas: tuple[int, ...], sprite: tuple[int, ...], x: int, y: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Slices of canvas and sprite where the sprite placed at (x, y) is visible; None where it is not."""
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + sprite[1], canvas[1]), min(y + sprite[0], canvas[0])
    if x1 <= x0 or y1 <= y0:
        return None
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
