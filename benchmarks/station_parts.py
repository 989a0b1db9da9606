"""What the parts of ``station.py`` share: pictures, models, and a station of a launch string on a source of our own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.pipelines.build import Built, build
from lineside.pipelines.elements import Source
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.plan.launch import parse_launch
from lineside.pipelines.plan.shape import shape_of

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / "demo" / "bearing.bundle"
VIDEO = DEMO.parent / "line.mp4"
SIZE = (1080, 1920)
LARGE = "YOLO11n-seg 640"
SMALL = "demo model 320"

Pixels = npt.NDArray[np.uint8]


def pictures(size: tuple[int, int] = SIZE, count: int = 8) -> list[Pixels]:
    """Frames of the demo video, spread over it and brought to a size (H, W)."""
    import cv2
    from loop import decoded

    frames = list(decoded(VIDEO, every=5))[:count]
    return [np.asarray(cv2.resize(frame, size[::-1]), np.uint8) for frame in frames]


def bundles(quick: bool) -> dict[str, Path]:
    """What is measured with: the demo's model, and where there is time a model that keeps a processor busy for longer."""
    if quick:
        return {SMALL: DEMO}
    from models import models

    return {LARGE: models().exported, SMALL: DEMO}


def built_from(
    text: str,
    folder: Path,
    source: Callable[[], Source],
    *,
    bus: Bus | None = None,
    listener: Callable[[Frame], None] | None = None,
) -> Built:
    """The graph of a launch string, as a station builds it.

    Args:
        text: The launch string.
        folder: What its paths start from.
        source: Makes what stands in the place of its source.
        bus: Where events go.
        listener: Told each frame whose outcome is settled.
    """
    shape = shape_of(parse_launch(text))
    return build(shape, folder, bus or Bus(), listener=listener, wrap=lambda node, make: source())


def process_facts() -> dict[str, int]:
    """What this process holds: resident memory in bytes, what of it no file stands behind (``own``), threads, descriptors.

    The pages of libraries come and go as the machine needs memory; its own pages are what a process could leak.
    """
    with open("/proc/self/statm") as file:  # not through a Path, which leaves strings behind
        pages, shared = (int(word) for word in file.read().split()[1:3])
    return {
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
        "own": (pages - shared) * os.sysconf("SC_PAGE_SIZE"),
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


def rounded(value: Any, digits: int = 4) -> Any:
    """Plain values with every float rounded, for JSON."""
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, dict):
        return {key: rounded(each, digits) for key, each in value.items()}
    return [rounded(each, digits) for each in value] if isinstance(value, (list, tuple)) else value
