"""Writes data sets in the YOLO segmentation format."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from lineside.export.synth.scene import CLASSES, SMALLEST_PICTURE, Drawing, check_task, draw
from lineside.runtime.errors import BadOption, SinkError

__all__ = ["write_dataset", "write_drawing"]

Step = Callable[[int, int], None]
"""Called with the number of pictures done and their total."""


def write_dataset(
    task: str,
    out: str | Path,
    train: int,
    val: int,
    size: int,
    seed: int = 0,
    photos: bool = True,
    on_step: Step | None = None,
) -> Path:
    """Draws a data set: ``data.yaml``, ``images/{train,val}``, ``labels/{train,val}``.

    Picture i of a split depends on the seed, the split and i only. The set appears under its name when it is whole:
    an interrupted run leaves nothing behind. ``data.yaml`` names no absolute path, so the folder can be moved.

    Args:
        task: ``bearing`` or ``tube``.
        out: Folder to make; it may exist when it is empty.
        train: Number of pictures to train on, at least 1.
        val: Number of pictures to validate on, at least 1.
        size: Side of a picture, px, at least 64.
        seed: Not negative.
        photos: Use photographs of an installed scikit-image as backgrounds.
        on_step: Called after each picture.

    Returns:
        The path of ``data.yaml``.

    Raises:
        BadOption: An option is out of range, or the folder holds something.
        SinkError: A file cannot be written.
    """
    check_task(task)
    if train < 1 or val < 1:
        raise BadOption(f"A data set needs at least one picture in each split; {train} and {val} were asked for.")
    if size < SMALLEST_PICTURE:
        raise BadOption(f"A picture is at least {SMALLEST_PICTURE} px large; {size} was asked for.")
    if seed < 0:
        raise BadOption(f"A seed is not negative; {seed} was given.")
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadOption(f"'{target}' exists and is not an empty folder. Name a new folder, or remove it first.")
    scratch: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        _fill(scratch, task, (train, val), size, seed, photos, on_step or (lambda done, total: None))
        scratch.chmod(0o755)
        if target.exists():
            target.rmdir()
        os.replace(scratch, target)
    except OSError as error:
        raise SinkError(
            f"The data set cannot be written to '{target}': {error}. Check the disk and the rights."
        ) from error
    finally:
        if scratch is not None and scratch.exists():
            shutil.rmtree(scratch, ignore_errors=True)
    return target / "data.yaml"


def write_drawing(drawing: Drawing, picture: Path, label: Path | None = None) -> None:
    """Writes one picture (format by its suffix) and its label file.

    Args:
        drawing: What to write; every object gets class 0.
        picture: File to write.
        label: File for the outlines, normalised to 0..1, 5 decimals; none when None.

    Raises:
        OSError: A file cannot be written.
    """
    done, encoded = cv2.imencode(picture.suffix, drawing.image, [cv2.IMWRITE_JPEG_QUALITY, 93])
    if not done:
        raise OSError(f"cannot encode {picture.name}")
    picture.write_bytes(encoded.tobytes())
    if label is not None:
        height, width = drawing.image.shape[:2]
        lines = []
        for polygon in drawing.polygons:
            points = np.clip(polygon / np.array([width, height], np.float32), 0, 1)
            lines.append("0 " + " ".join(f"{value:.5f}" for value in points.ravel()) + "\n")
        label.write_text("".join(lines), encoding="utf-8")


def _fill(folder: Path, task: str, counts: tuple[int, int], size: int, seed: int, photos: bool, on_step: Step) -> None:
    """Draws both splits into a folder."""
    done = 0
    for number, (split, count) in enumerate(zip(("train", "val"), counts, strict=True)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(count):
            drawing = draw(task, size, np.random.default_rng([seed, number, index]), photos)
            name = f"{task}_{index:05d}"
            write_drawing(drawing, folder / "images" / split / f"{name}.jpg", folder / "labels" / split / f"{name}.txt")
            done += 1
            on_step(done, sum(counts))
    text = f"# Drawn by: lineside synth {task} --train {counts[0]} --val {counts[1]} --size {size} --seed {seed}\n"
    text += f"train: images/train\nval: images/val\nnames:\n  0: {CLASSES[task]}\n"
    (folder / "data.yaml").write_text(text, encoding="utf-8")
