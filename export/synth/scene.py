"""Whole pictures: parts on a background, under a light, with their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineside.export.synth.bearing import draw_bearing
from lineside.export.synth.lighting import Exposure, expose
from lineside.export.synth.raster import Sprite, clip_polygon, paint, place, polygon_area, rotate, shadow
from lineside.export.synth.texture import background
from lineside.export.synth.tube import draw_tube
from lineside.runtime.errors import BadOption

__all__ = ["CLASSES", "TASKS", "Drawing", "check_task", "draw", "labelled", "pictures"]

CLASSES = {"bearing": "Defect", "tube": "capp"}
"""Task and the name of its one class."""

TASKS = tuple(CLASSES)

SMALLEST_PICTURE = 64
"""Smallest picture, px."""

CLOSE_UPS = 0.25
"""Share of pictures that show a part of a scene, enlarged."""

VISIBLE = 12.0
"""An object cut by the picture's border is labelled from this visible area on, px²."""


@dataclass(frozen=True)
class Drawing:
    """One picture and what is in it.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        polygons: One (K, 2) float32 outline per object, continuous picture coordinates, px.
        masks: For each object the coverage that was really drawn, (H, W) float32, 0..1.
    """

    image: NDArray[np.uint8]
    polygons: tuple[NDArray[np.float32], ...]
    masks: tuple[NDArray[np.float32], ...]


def check_task(task: str) -> str:
    """Returns the task, or raises.

    Raises:
        BadOption: It is none of `TASKS`.
    """
    if task not in CLASSES:
        raise BadOption(f"There is no task '{task}'. Choose one of: {', '.join(TASKS)}.")
    return task


def draw(task: str, size: int, rng: np.random.Generator, photos: bool = True) -> Drawing:
    """Draws one square picture of a task.

    Args:
        task: ``bearing`` or ``tube``.
        size: Side, px, at least 64.
        rng: Source of randomness; the picture depends on nothing else, but for `photos`.
        photos: Use photographs of an installed scikit-image as backgrounds.

    Returns:
        The picture with its labels. Some pictures have no object.

    Raises:
        BadOption: Unknown task, or a size below 64.
    """
    check_task(task)
    if size < SMALLEST_PICTURE:
        raise BadOption(f"A synthetic picture is at least {SMALLEST_PICTURE} px large, {size} was asked for.")
    scene = {"bearing": _bearings, "tube": _tubes}[task]
    if rng.random() < CLOSE_UPS:
        whole = round(size * float(rng.uniform(1.2, 2.0)))
        canvas, polygons, masks = _crop(scene(whole, rng, photos), size, rng)
    else:
        canvas, polygons, masks = scene(size, rng, photos)
    return Drawing(expose(canvas, Exposure.draw(rng), rng), tuple(polygons), tuple(masks))


def labelled(task: str, count: int, size: int, seed: int, photos: bool = True) -> list[Drawing]:
    """Draws seeded pictures with their labels; picture i depends on (seed, i) only.

    Args:
        task: ``bearing`` or ``tube``.
        count: Number of pictures.
        size: Side, px.
        seed: Not negative.
        photos: See `draw`.

    Returns:
        The drawings in order.
    """
    return [draw(task, size, np.random.default_rng([seed, index]), photos) for index in range(count)]


def pictures(task: str, count: int, size: int, seed: int) -> list[NDArray[np.uint8]]:
    """Draws seeded pictures without photographs, so that they are the same whatever else is installed.

    Args:
        task: ``bearing`` or ``tube``.
        count: Number of pictures.
        size: Side, px.
        seed: Not negative; picture i depends on (seed, i) only.

    Returns:
        A list of (size, size, 3) uint8 BGR.
    """
    return [drawing.image for drawing in labelled(task, count, size, seed, photos=False)]


Scene = tuple[NDArray[np.float32], list[NDArray[np.float32]], list[NDArray[np.float32]]]


def _bearings(size: int, rng: np.random.Generator, photos: bool) -> Scene:
    """One large bearing, or several small ones; about one picture in six holds good parts only."""
    canvas = background(size, size, rng, (25, 190), photos)
    cells = int(rng.choice([1, 2], p=[0.7, 0.3]))
    good = rng.random() < 0.16
    throw = tuple(int(v) for v in rng.integers(-size // 40, size // 40 + 1, 2))
    polygons: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.float32]] = []
    for cell in range(cells * cells):
        if cells > 1 and rng.random() < 0.2:
            continue
        span = size / cells
        radius = span * float(rng.uniform(0.36, 0.47))
        count = 0 if good else int(rng.integers(0 if cells > 1 else 1, 7 if cells == 1 else 4))
        sprite = draw_bearing(radius, rng, count, largest=size * 0.16)
        jitter = rng.uniform(-0.5, 0.5, 2) * (span * 0.06)
        centre = (np.array([cell % cells, cell // cells]) + 0.5) * span + jitter
        x, y = (int(v) for v in np.round(centre - len(sprite.alpha) / 2))
        _lay(canvas, sprite, x, y, throw, polygons, masks)
    return canvas, polygons, masks


def _tubes(size: int, rng: np.random.Generator, photos: bool) -> Scene:
    """A rack with up to six tubes; about one picture in eight holds no blood."""
    canvas = background(size, size, rng, (105, 225), photos)
    count = int(rng.integers(1, 7))
    dry = rng.random() < 0.1
    length = size * float(rng.uniform(0.72, 0.9))
    width = min(size * float(rng.uniform(0.085, 0.13)), size * 0.74 / count)
    if rng.random() < 0.6:
        _rack(canvas, rng)
    throw = tuple(int(v) for v in rng.integers(1, size // 40 + 2, 2))
    polygons: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.float32]] = []
    pitch = size * 0.8 / count
    for slot in range(count):
        if count > 2 and rng.random() < 0.1:
            continue
        tube = draw_tube(length * float(rng.uniform(0.93, 1.0)), width, rng, filled=not dry and rng.random() > 0.12)
        sprite = rotate(tube, float(rng.normal(0, 0.025)))
        centre = size * 0.1 + pitch * (slot + 0.5) + float(rng.uniform(-0.08, 0.08)) * pitch
        x = round(centre - sprite.alpha.shape[1] / 2)
        y = round(size * 0.5 - sprite.alpha.shape[0] / 2 + float(rng.uniform(-0.04, 0.04)) * size)
        _lay(canvas, sprite, x, y, throw, polygons, masks)
    return canvas, polygons, masks


def _crop(scene: Scene, size: int, rng: np.random.Generator) -> Scene:
    """A random square window of a scene; objects are cut at its border, and dropped where too little is left."""
    canvas, polygons, masks = scene
    x, y = (int(v) for v in rng.integers(0, len(canvas) - size + 1, 2))
    window = (slice(y, y + size), slice(x, x + size))
    kept = []
    for polygon, mask in zip(polygons, masks, strict=True):
        visible = clip_polygon(polygon - np.array([x, y], np.float32), size, size)
        if len(visible) >= 3 and polygon_area(visible) >= VISIBLE:
            kept.append((visible, np.ascontiguousarray(mask[window])))
    return np.ascontiguousarray(canvas[window]), [polygon for polygon, _ in kept], [mask for _, mask in kept]


def _rack(canvas: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Two bars of a rack across the picture, behind the tubes."""
    size = len(canvas)
    colour = np.array([[205, 205, 205], [150, 120, 70], [90, 95, 100], [80, 130, 90]][int(rng.integers(4))], np.float32)
    for at in (0.36, 0.74):
        top = int(size * (at + float(rng.uniform(-0.03, 0.03))))
        thick = max(3, int(size * float(rng.uniform(0.03, 0.06))))
        alpha = np.zeros((size, size), np.float32)
        alpha[top : top + thick] = 0.9
        shade = np.ones((size, 1, 1), np.float32)
        shade[top : top + thick, 0, 0] = np.linspace(1.15, 0.75, thick)
        paint(canvas, colour * shade, alpha)


def _lay(
    canvas: NDArray[np.float32],
    sprite: Sprite,
    x: int,
    y: int,
    throw: tuple[int, ...],
    polygons: list[NDArray[np.float32]],
    masks: list[NDArray[np.float32]],
) -> None:
    """Puts shadow and part on the canvas and collects what is visible of its objects."""
    height, width = canvas.shape[:2]
    shadow(canvas, sprite, x, y, (throw[0], throw[1]), depth=0.45)
    for polygon, index in place(canvas, sprite, x, y):
        if polygon_area(polygon) < VISIBLE:
            continue
        full = np.zeros((height, width, 3), np.float32)
        place(full, Sprite(np.ones_like(sprite.colour), sprite.masks[index]), x, y)
        polygons.append(polygon)
        masks.append(np.ascontiguousarray(full[..., 0]))
