"""Checks one picture or one label file of a data set in the YOLO segmentation format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Fault", "check_label", "check_picture", "label_of"]

SMALLEST = 10
"""Pictures with a side below this many px are refused (ultralytics does not train on them)."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        kind: Short name of the kind, for counting.
        file: The file.
        line: Line in it, from 1; 0 where the file as a whole is meant.
        why: What is wrong, and what was expected.
    """

    kind: str
    file: Path
    line: int
    why: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{place}: {self.why}"


def label_of(picture: Path) -> Path:
    """The label file of a picture: the last folder ``images`` in its path becomes ``labels``, the suffix ``.txt``."""
    parts = list(picture.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def check_picture(path: Path) -> Fault | None:
    """Decodes a picture.

    Args:
        path: The file.

    Returns:
        What is wrong with it, or None.
    """
    import cv2

    try:
        data = path.read_bytes()
    except OSError as error:
        return Fault("unreadable picture", path, 0, f"cannot be read ({error.strerror})")
    if data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-64:]:
        return Fault("unreadable picture", path, 0, "is a JPEG without an end: it was cut off")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        return Fault("unreadable picture", path, 0, "is no picture that OpenCV can decode")
    if min(image.shape[:2]) < SMALLEST:
        return Fault("unreadable picture", path, 0, f"is only {image.shape[1]}x{image.shape[0]} px")
    return None


def check_label(path: Path, classes: int, boxes: bool = False) -> tuple[int, list[Fault]]:
    """Checks every line of a label file.

    Args:
        path: The file; lines are ``class x1 y1 x2 y2 x3 y3 …``, coordinates in 0..1, empty lines allowed.
        classes: Number of classes of the set.
        boxes: A line may also be a box: ``class x y width height``, its centre and its sides, each in 0..1.

    Returns:
        The number of good lines, and what is wrong with the others.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return 0, [Fault("unreadable label", path, 0, f"is no text ({error})")]
    good, faults = 0, []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        wrong = _check_line(line.split(), classes, boxes)
        if wrong is None:
            good += 1
        else:
            faults.append(Fault(wrong[0], path, number, wrong[1]))
    return good, faults


def _check_line(words: list[str], classes: int, boxes: bool) -> tuple[str, str] | None:
    """Kind and reason of what is wrong with one label line, or None."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return "broken label", f"holds something that is no number: '{' '.join(words)[:60]}'"
    if not values[0].is_integer():
        return "class mismatch", f"its class '{words[0]}' is no whole number"
    if not 0 <= values[0] < classes:
        return "class mismatch", f"its class {int(values[0])} is not among the {classes} that data.yaml names (from 0)"
    points = values[1:]
    if len(points) == 4 and boxes:
        return _check_numbers(points) or (("no area", "is a box with no area") if min(points[2:]) <= 0 else None)
    if len(points) == 4:
        return "too few points", "has 4 numbers after the class: a box, where an outline of 3 or more points is needed"
    if len(points) % 2:
        return "broken label", f"has {len(points)} coordinates, an odd number"
    if len(points) < 6:
        return "too few points", f"has {len(points) // 2} points, and an outline needs 3 or more"
    wrong = _check_numbers(points)
    if wrong is not None:
        return wrong
    x, y = np.array(points[0::2]), np.array(points[1::2])
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return "too few points", "is a point or a line, with no area"
    return None


def _check_numbers(points: list[float]) -> tuple[str, str] | None:
    """Kind and reason where a coordinate is not one, or None."""
    if not all(math.isfinite(value) for value in points):
        return "broken label", "has a coordinate that is not finite"
    outside = [value for value in points if not -1e-5 <= value <= 1 + 1e-5]  # labels are written with few digits
    if outside:
        return (
            "outside the picture",
            f"has the coordinate {outside[0]:g}; all lie in 0..1 (divided by width and height)",
        )
    return None
