"""Made-up raw outputs of one 1080p picture at input 640: a known number of objects, each seen by six anchors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

IMAGE, INPUT = (1080, 1920), (640, 640)
PAD_TOP, CONTENT_H = 140, 360
CONF, IOU, COEFFICIENTS, DUPLICATES = 0.25, 0.7, 32, 6
STRIDES = (8, 16, 32)
OBJECTS = {5: (144, 108), 50: (60, 45), 300: (24, 18)}
"""Width and height in input pixels of the objects, for each number of objects."""


def objects_of(count: int, rng: Any) -> Any:
    """Boxes (count * 6, 4) xywh in input pixels: a jittered grid, each object seen by six anchors that nearly agree."""
    import numpy as np

    w, h = OBJECTS[count]
    columns = int(np.ceil(np.sqrt(count * INPUT[1] / CONTENT_H)))
    rows = int(np.ceil(count / columns))
    place = rng.permutation(columns * rows)[:count]
    cx = (place % columns + 0.5) * INPUT[1] / columns
    cy = PAD_TOP + (place // columns + 0.5) * CONTENT_H / rows
    size = rng.uniform(0.8, 1.0, (count, 2)) * [w, h]
    one = np.column_stack([cx, cy, size])
    return np.repeat(one, DUPLICATES, 0) + rng.normal(0, 0.2, (count * DUPLICATES, 4))


def planes_of(boxes: Any, rng: Any) -> tuple[Any, Any]:
    """Prototypes (32, 160, 160) and coefficients (N, 32) whose masks are ellipses with a wavy edge."""
    import numpy as np

    x, y = np.meshgrid((np.arange(160) + 0.5) * 4, (np.arange(160) + 0.5) * 4)
    waves = [np.sin(x * fx + y * fy + p) for fx, fy, p in rng.uniform(-0.15, 0.15, (COEFFICIENTS - 5, 3)) * [1, 1, 40]]
    protos = np.stack([np.ones_like(x), x / 640, y / 640, (x / 640) ** 2, (y / 640) ** 2, *waves])
    cx, cy, rx, ry = (boxes / [640, 640, 1280, 1280]).T
    exact = np.stack([1 - (cx / rx) ** 2 - (cy / ry) ** 2, 2 * cx / rx**2, 2 * cy / ry**2, -1 / rx**2, -1 / ry**2], 1)
    wavy = rng.normal(0, 0.03, (len(boxes), COEFFICIENTS - 5))
    return protos.astype(np.float32), np.hstack([exact, wavy]).astype(np.float32)


def flat_scene(count: int, seed: int = 0) -> list[Any]:
    """Raw outputs of a flat head with one class."""
    import numpy as np

    rng = np.random.default_rng(seed)
    boxes = objects_of(count, rng)
    protos, coefficients = planes_of(boxes, rng)
    table = np.zeros((1, 5 + COEFFICIENTS, 8400), np.float32)
    table[0, 4] = rng.uniform(0, 0.2, 8400)
    at = np.sort(rng.permutation(8400)[: len(boxes)])
    table[0, :4, at] = boxes
    table[0, 4, at] = rng.uniform(0.4, 0.95, len(boxes))
    table[0, 5:, at] = coefficients
    return [table, protos[None]]


def levels_scene(count: int, seed: int = 0) -> list[Any]:
    """Raw outputs of a head cut into levels, with 80 classes; every anchor lies near the object that it sees."""
    import numpy as np

    rng = np.random.default_rng(seed)
    boxes = objects_of(count, rng)
    protos, coefficients = planes_of(boxes, rng)
    grids = {8: 80, 16: 40, 32: 20}
    outputs = {s: [rng.normal(0, 1, (1, c, g, g)).astype(np.float32) for c in (64, 80, 32)] for s, g in grids.items()}
    for parts in outputs.values():
        parts[1] -= 7
    largest = max(OBJECTS[count])
    stride = 8 if largest < 15 * 8 else 16
    box, logits, masks = outputs[stride]
    for i, (cx, cy, w, h) in enumerate(boxes):
        column, row = int(cx / stride) + i % 3 - 1, int(cy / stride) + i % 2
        column, row = min(max(column, 0), grids[stride] - 1), min(row, grids[stride] - 1)
        logits[0, :, row, column] = -7.0  # an anchor that an earlier object had is this one's alone now
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        for side, distance in enumerate((x - cx + w / 2, y - cy + h / 2, cx + w / 2 - x, cy + h / 2 - y)):
            box[0, 16 * side : 16 * side + 16, row, column] = -((np.arange(16) - distance / stride) ** 2) * 4
        logits[0, (i // DUPLICATES) % 80, row, column] = rng.uniform(0.5, 3)
        masks[0, :, row, column] = coefficients[i]
    return [*(part for parts in outputs.values() for part in parts), protos[None]]


def flat_of(levels: list[Any], input_size: tuple[int, int] = INPUT) -> Any:
    """What the graph computes where its tail is not cut off: the levels as one table.

    Args:
        levels: For each stride distances (1, 4 * bins, h, w), class logits (1, classes, h, w) and coefficients.
        input_size: Height and width of the input.

    Returns:
        (1, 4 + classes + coefficients, anchors) float32: boxes xywh in input pixels, probabilities, coefficients.
    """
    import numpy as np

    tables = []
    for i, stride in enumerate(STRIDES):
        sides, logits, masks = (t[0].reshape(t.shape[1], -1).astype(np.float64) for t in levels[3 * i : 3 * i + 3])
        bins = sides.reshape(4, -1, sides.shape[1])
        share = np.exp(bins - bins.max(1, keepdims=True))
        left, top, right, bottom = (share * np.arange(bins.shape[1])[:, None]).sum(1) / share.sum(1)
        columns, at = input_size[1] // stride, np.arange(sides.shape[1])
        x, y = at % columns + 0.5 + (right - left) / 2, at // columns + 0.5 + (bottom - top) / 2
        box = np.stack([x, y, left + right, top + bottom]) * stride
        tables.append(np.concatenate([box, 1 / (1 + np.exp(-logits)), masks]))
    return np.concatenate(tables, 1)[None].astype(np.float32)


def write(path: Path, kind: str, count: int) -> Path:
    """Writes one of the scenes for the workers, see `peers.client.write_scene`.

    Args:
        path: The ``.npz`` file.
        kind: ``flat`` (one class) or ``levels`` (80 classes).
        count: Number of objects, one of `OBJECTS`.

    Returns:
        The path.
    """
    from peers.client import Wanted, write_scene

    wanted = Wanted(CONF, IOU, 300, IMAGE, (CONTENT_H, INPUT[1]), (0, PAD_TOP), INPUT)
    if kind == "flat":
        table, protos = flat_scene(count)
        return write_scene(path, wanted, table, protos)
    *levels, protos = levels_scene(count)
    return write_scene(path, wanted, flat_of(levels), protos, levels)
