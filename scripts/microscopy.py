"""Makes a small real data set: cell nuclei under a microscope, with a mask for every single one.

usage: python scripts/microscopy.py FOLDER [--cache CACHE] [--wheel stardist.whl]

The wheel of stardist (BSD-3) carries a picture and its instance masks; it is downloaded by pip, not installed, and only
these two files are read. The picture is cut into overlapping crops for training and others, of another part of the
picture, for validation. Then, for example:

    lineside train yolo11n-seg.yaml FOLDER/data.yaml --imgsz 256 --epochs 30 --batch 8 --out runs/nuclei
    lineside export runs/nuclei/best.pt -o nuclei.bundle
    lineside verify nuclei.bundle --data FOLDER/data.yaml --weights runs/nuclei/best.pt
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

PACKAGE = "stardist==0.9.2"
PICTURE, MASKS = "stardist/data/images/img2d.tif", "stardist/data/images/mask2d.tif"
CLASS = "nucleus"

SIDE = 96
"""Side of a crop, px."""

BORDER = 320
"""Columns left of it are for training, the others for validation: no nucleus is in both but at the cut."""

STEP = 32
"""Distance between the crops for training, px."""

LEAST = 12
"""Pieces of nuclei at the border of a crop with fewer pixels are not labelled."""

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint16]


def fetch(cache: Path) -> Path:
    """The wheel, downloaded once."""
    found = sorted(cache.glob("stardist-*.whl"))
    if not found:
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", cache]
        subprocess.run([*command, PACKAGE], check=True)
        found = sorted(cache.glob("stardist-*.whl"))
    return found[0]


def read(wheel: Path) -> tuple[Pixels, Labels]:
    """The picture, stretched to 0..255, and the number of the nucleus that each pixel belongs to (0: none)."""
    with zipfile.ZipFile(wheel) as archive:
        picture, labels = (
            np.asarray(cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED))
            for name in (PICTURE, MASKS)
        )
    stretched = picture.astype(np.float64) * (255 / max(1, int(picture.max())))
    return stretched.round().astype(np.uint8), labels.astype(np.uint16)


def outlines(labels: Labels) -> Iterator[npt.NDArray[np.float32]]:
    """The outline of each nucleus, ``(K, 2)`` x y from 0 to 1; of one in pieces, that of the largest."""
    size = np.float32([labels.shape[1], labels.shape[0]])
    for number in np.unique(labels[labels > 0]):
        mask = (labels == number).astype(np.uint8)
        found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outline = max(found, key=cv2.contourArea)
        if int(mask.sum()) >= LEAST and cv2.contourArea(outline) > 1:
            yield (outline[:, 0].astype(np.float32) + np.float32(0.5)) / size


def crops(shape: tuple[int, int]) -> Iterator[tuple[str, int, int]]:
    """Split, row and column of every crop."""
    for top in range(0, shape[0] - SIDE + 1, STEP):
        for left in range(0, BORDER - SIDE + 1, STEP):
            yield "train", top, left
    for top in range(0, shape[0] - SIDE + 1, SIDE):
        for left in range(BORDER, shape[1] - SIDE + 1, SIDE):
            yield "val", top, left


def write(picture: Pixels, labels: Labels, folder: Path) -> dict[str, tuple[int, int]]:
    """Writes the set; returns the numbers of pictures and of objects of each split."""
    counts = {"train": (0, 0), "val": (0, 0)}
    for split in counts:
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
    for split, top, left in crops(picture.shape):
        window = (slice(top, top + SIDE), slice(left, left + SIDE))
        name = f"nuclei_{top:03}_{left:03}"
        cv2.imwrite(str(folder / "images" / split / f"{name}.png"), picture[window])
        lines = ["0 " + " ".join(f"{value:.5f}" for value in line.ravel()) + "\n" for line in outlines(labels[window])]
        (folder / "labels" / split / f"{name}.txt").write_text("".join(lines))
        pictures, objects = counts[split]
        counts[split] = pictures + 1, objects + len(lines)
    text = f"# Cut from {PICTURE} of {PACKAGE} (BSD-3)\n"
    (folder / "data.yaml").write_text(f"{text}train: images/train\nval: images/val\nnames:\n  0: {CLASS}\n")
    return counts


def main() -> int:
    """Fetches, cuts, and says what came of it."""
    parser = argparse.ArgumentParser(description="A small real data set: nuclei with instance masks.")
    parser.add_argument("folder", type=Path, help="new folder for the data set")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=home / "lineside" / "wheels", help="where the wheel is kept")
    parser.add_argument("--wheel", type=Path, help="a wheel of stardist that is there already")
    options = parser.parse_args()
    if options.folder.exists():
        print(f"error: {options.folder} exists already: name a new folder", file=sys.stderr)
        return 2
    try:
        wheel = options.wheel or fetch(options.cache)
        picture, labels = read(wheel)
    except (subprocess.CalledProcessError, OSError, KeyError, zipfile.BadZipFile) as error:
        print(f"error: no picture and masks of {PACKAGE} ({error}): give its wheel with --wheel", file=sys.stderr)
        return 2
    for split, (pictures, objects) in write(picture, labels, options.folder).items():
        print(f"{split}: {pictures} pictures of {SIDE} px, {objects} nuclei")
    print(f"{options.folder / 'data.yaml'}: {int(np.unique(labels[labels > 0]).size)} nuclei in the whole picture")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
