"""Pictures with known objects and detections of them, for tests of the judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lineside.export.accuracy.found import Found
from lineside.export.accuracy.truth import Truth
from lineside.runtime.masks import Mask

SIZE = (48, 64)


def block(x: int, y: int, width: int, height: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A filled rectangle."""
    table = np.zeros(size, bool)
    table[y : y + height, x : x + width] = True
    return table


def disc(x: float, y: float, radius: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A filled circle around a point in picture coordinates."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


def box_of(table: np.ndarray) -> list[float]:
    """The tight box of a mask, xyxy."""
    rows, columns = np.flatnonzero(table.any(1)), np.flatnonzero(table.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if rows.size else [0.0, 0.0, 1.0, 1.0]


def truth_of(pictures: Sequence[Sequence[tuple[int, np.ndarray]]], classes: int = 1) -> Truth:
    """The truth of pictures that are lists of class and mask."""
    flat = [(index, kind, table) for index, objects in enumerate(pictures) for kind, table in objects]
    return Truth(
        classes=classes,
        image_sizes=tuple(objects[0][1].shape if objects else SIZE for objects in pictures),
        pictures=np.array([index for index, _, _ in flat], np.int64),
        kinds=np.array([kind for _, kind, _ in flat], np.int64),
        boxes=np.array([box_of(table) for _, _, table in flat], np.float64).reshape(-1, 4),
        masks=tuple(Mask.from_array(table).rle() for _, _, table in flat),
        areas=np.array([table.sum() for _, _, table in flat], np.float64),
    )


def found_of(detections: Sequence[tuple[int, float, np.ndarray]], size: tuple[int, int] = SIZE) -> Found:
    """Detections of one picture from class, score and mask."""
    return Found(
        boxes=np.array([box_of(table) for _, _, table in detections], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score, _ in detections], np.float32),
        classes=np.array([kind for kind, _, _ in detections], np.int32),
        masks=tuple(Mask.from_array(table).rle() for _, _, table in detections),
        image_size=size,
    )


def random_scene(seed: int, pictures: int, classes: int, skill: float = 0.7) -> tuple[Truth, list[Found]]:
    """Random objects, and a detector that sees some of them, some twice, more or less in place, and others.

    Args:
        seed: Seed.
        pictures: Number of pictures; some are empty.
        classes: Number of classes.
        skill: Share of the objects that are seen.
    """
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(pictures):
        objects = [(int(rng.integers(classes)), _any_block(rng)) for _ in range(rng.integers(0, 5))]
        seen = []
        for kind, table in objects:
            for _ in range(2 if rng.random() < 0.2 else int(rng.random() < skill)):
                moved = np.roll(table, tuple(rng.integers(-2, 3, 2)), (0, 1))
                kind_seen = kind if rng.random() < 0.9 else int(rng.integers(classes))
                seen.append((kind_seen, _any_score(rng), moved))
        seen += [(int(rng.integers(classes)), _any_score(rng), _any_block(rng)) for _ in range(rng.integers(0, 4))]
        truth.append(objects)
        found.append(found_of(seen))
    return truth_of(truth, classes), found


def _any_block(rng: np.random.Generator) -> np.ndarray:
    width, height = rng.integers(3, 30, 2)
    return block(int(rng.integers(0, 64 - width)), int(rng.integers(0, 48 - height)), int(width), int(height))


def _any_score(rng: np.random.Generator) -> float:
    """Any score, no two the same in practice."""
    return float(rng.uniform(0.01, 0.99))
