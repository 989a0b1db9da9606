"""Real photographs and frames of videos that installed packages carry: what drawings cannot stand for.

They are looked for, never fetched. Noise, JPEG blocks, grey pictures, sizes that nobody chose for a test: a bundle that
agrees with torch on drawings only is no good on a line.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lineside.export.pictures import Picture

__all__ = ["COLLECTIONS", "Collection", "described", "photographs"]

FRAME = 20
"""Frame of a video that is taken, from 0: the first ones are often black."""


@dataclass(frozen=True)
class Collection:
    """Pictures that come with a package.

    Attributes:
        name: What the report calls it.
        package: Import name of the Python package that carries it; None for files of the system.
        folder: Folder in the package, or on the system.
        files: Pictures and videos in it.
        grey: Those that are handed on as ``(H, W)``, as a grey camera does.
    """

    name: str
    package: str | None
    folder: str
    files: tuple[str, ...]
    grey: frozenset[str] = frozenset()


COLLECTIONS = (
    Collection("ultralytics", "ultralytics", "assets", ("bus.jpg", "zidane.jpg")),
    Collection("scikit-image", "skimage", "data", ("coins.png", "coffee.png"), grey=frozenset({"coins.png"})),
    Collection("scikit-learn", "sklearn", "datasets/images", ("china.jpg",)),
    Collection("opencv-doc", None, "/usr/share/doc/opencv-doc/examples/data", ("vtest.avi", "tree.avi")),
)
"""What the gate looks for; few of each, of sizes and kinds that differ."""

VIDEOS = frozenset({".avi", ".mp4"})


def photographs(collections: Sequence[Collection] = COLLECTIONS) -> dict[str, list[Picture]]:
    """Reads the photographs that are there; a package that is not installed has none.

    Args:
        collections: Where to look.

    Returns:
        Pictures, ``(H, W, 3)`` BGR or ``(H, W)`` grey, by the name of their collection; collections without any are
        left out. The order is always the same.
    """
    found: dict[str, list[Picture]] = {}
    for collection in collections:
        folder = _folder(collection)
        if folder is None:
            continue
        pictures = [_read(folder / name, name in collection.grey) for name in collection.files]
        present = [picture for picture in pictures if picture is not None]
        if present:
            found[collection.name] = present
    return found


def described(drawings: int, found: dict[str, list[Picture]]) -> str:
    """Where the pictures of a gate come from, in words, with numbers."""
    photos = ", ".join(f"{name} {len(pictures)}" for name, pictures in found.items())
    drawn = f"{drawings} drawings of the task"
    if not photos:
        return f"{drawn}; no photographs, because no package that carries some is installed"
    count = sum(map(len, found.values()))
    return f"{drawn}, {count} photograph{'s' if count > 1 else ''} ({photos})"


def _folder(collection: Collection) -> Path | None:
    """Where a collection lies; None where its package is not installed. The package is not imported."""
    if collection.package is None:
        folder = Path(collection.folder)
        return folder if folder.is_dir() else None
    try:
        spec = importlib.util.find_spec(collection.package)
    except (ImportError, ValueError):
        spec = None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / collection.folder if places else None


def _read(path: Path, grey: bool) -> Picture | None:
    """A picture or a frame of a video; None where the file is not there or cannot be read."""
    if not path.is_file():
        return None
    if path.suffix.lower() in VIDEOS:
        return _frame(path)
    frame = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
    return None if frame is None else Picture(path.name, np.asarray(frame, np.uint8))


def _frame(path: Path) -> Picture | None:
    """One frame of a video, decoded in order, so that it is the same frame everywhere."""
    video = cv2.VideoCapture(str(path))
    try:
        last = None
        for _ in range(FRAME + 1):
            good, frame = video.read()
            if not good:
                break
            last = frame
    finally:
        video.release()
    return None if last is None else Picture(f"{path.name} frame {FRAME}", np.asarray(last, np.uint8))
