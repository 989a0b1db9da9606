"""Pictures and videos for tests: bright discs, which the tiny bundle finds, on a dark ground."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

COLOURS = ((40, 40, 255), (40, 255, 40), (255, 255, 255))


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Three discs on a dark ground, BGR."""
    rng = np.random.default_rng(seed)
    image = np.full((*size, 3), 25, np.uint8)
    for colour in COLOURS:
        centre = (int(rng.uniform(0.2, 0.8) * size[1]), int(rng.uniform(0.2, 0.8) * size[0]))
        cv2.circle(image, centre, max(2, min(size) // 5), colour, -1)
    return image


def pictures(folder: Path, sizes: list[tuple[int, int]]) -> list[Path]:
    """Writes a PNG of each size."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"part{k}.png" for k in range(len(sizes))]
    for k, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        assert cv2.imwrite(str(path), picture(size, k))
    return paths


def video(path: Path, frames: int = 30, size: tuple[int, int] = (96, 160), fps: float = 25.0) -> Path:
    """Writes a video in which frame k has the grey value 4 k in its first rows, and a disc that moves."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (size[1], size[0]))
    assert writer.isOpened()
    for k in range(frames):
        image = np.full((*size, 3), 25, np.uint8)
        cv2.circle(image, (20 + 4 * k % size[1], size[0] // 2), size[0] // 3, COLOURS[0], -1)
        image[:8] = 4 * k % 256
        writer.write(image)
    writer.release()
    return path
