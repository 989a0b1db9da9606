"""Pictures to compare a bundle and torch on: seeded drawings of the task, or the user's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from lineside.export.synth import CLASSES, pictures
from lineside.runtime.errors import SourceError

__all__ = ["Picture", "drawn_pictures", "golden_drawings", "read_pictures", "tasks_of"]

SIZES = ((480, 640), (640, 480), (640, 640), (717, 533), (300, 500), (533, 717), (720, 405), (401, 401))
"""Heights and widths of the drawings: with and without padding, scaled up and down, sides that do not divide."""

GOLDEN_SIZES = ((271, 477), (203, 360), (301, 480), (480, 301), (360, 203), (333, 333))
"""Heights and widths of the drawings that go into a bundle: small ones, scaled up, take little room as an input."""

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

MOST = 64
"""More pictures than this are thinned out evenly: the gate is a check, not an evaluation."""


@dataclass(frozen=True)
class Picture:
    """A picture with a name.

    Attributes:
        name: File name, or what it is a drawing of.
        frame: ``(H, W, 3)`` uint8 BGR, or ``(H, W)`` uint8 grey.
    """

    name: str
    frame: npt.NDArray[np.uint8]


def tasks_of(names: Sequence[str]) -> tuple[str, ...]:
    """The drawing tasks that class names hint at; all of them where they hint at none."""
    known = tuple(task for task, name in CLASSES.items() if name in names)
    return known or tuple(CLASSES)


def drawn_pictures(names: Sequence[str], sizes: Sequence[tuple[int, int]] = SIZES, seed: int = 20) -> list[Picture]:
    """Draws pictures of the task that the class names hint at.

    Args:
        names: Class names of the model.
        sizes: Height and width of each picture.
        seed: Not negative.

    Returns:
        The same pictures for the same arguments, on any machine.
    """
    tasks = tasks_of(names)
    drawn = []
    for index, (height, width) in enumerate(sizes):
        task = tasks[index % len(tasks)]
        square = pictures(task, 1, max(height, width), seed + index)[0]
        top, left = (square.shape[0] - height) // 2, (square.shape[1] - width) // 2
        frame = np.ascontiguousarray(square[top : top + height, left : left + width])
        drawn.append(Picture(f"{task} {seed + index}", frame))
    return drawn


def golden_drawings(names: Sequence[str]) -> list[Picture]:
    """Drawings for golden files; others than those of the gate."""
    return drawn_pictures(names, GOLDEN_SIZES, seed=60)


def read_pictures(folder: str | os.PathLike[str], least: int) -> list[Picture]:
    """Reads the pictures of a folder, not of its subfolders, in alphabetical order.

    Args:
        folder: The folder.
        least: At least so many pictures.

    Returns:
        At most `MOST` pictures, picked evenly.

    Raises:
        SourceError: Not a folder, fewer pictures than asked for, or a picture that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder: --images takes a folder with at least {least} pictures")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if len(files) < least:
        raise SourceError(f"{folder} holds {len(files)} pictures and the parity gate needs at least {least}: add more")
    if len(files) > MOST:
        files = [files[round(i)] for i in np.linspace(0, len(files) - 1, MOST)]
    return [Picture(path.name, _read(path)) for path in files]


def _read(path: Path) -> npt.NDArray[np.uint8]:
    """One picture, BGR."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}): remove it from the folder") from error
    frame = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if frame is None:
        raise SourceError(f"{path} is not a picture that OpenCV can read: remove it from the folder")
    return np.asarray(frame, np.uint8)
