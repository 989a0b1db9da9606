"""Labels in the YOLO format as a ground truth for COCO's evaluator.

How an outline becomes a mask: its points are scaled to the picture, where pixel (X, Y) covers X..X+1 and Y..Y+1, and a
pixel belongs to the object when its centre lies inside, a stretch that is passed twice counting for nothing. That is
COCO's own rule; its rasteriser rounds points to a fifth of a pixel. So the thin bridge that joins the parts of an object
in a YOLO label (there and back along one line) has no area. An object too thin to cover the centre of any pixel has no
mask that anything could agree with: it counts as a box, and is left out where masks are judged. A line that stands twice
in a file is one object, as it is for ultralytics. The box of an outline is its extent, not rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lineside.export.accuracy.evaluator import mask_tools
from lineside.export.labels import label_of
from lineside.runtime.masks import Mask, RunLengths

__all__ = ["Truth", "label_truth", "mask_truth", "read_objects"]


@dataclass(frozen=True)
class Truth:
    """What is in the pictures of a set.

    Attributes:
        classes: Number of classes.
        image_sizes: Height and width of each picture, px.
        pictures: ``(G,)`` int: index of the picture that each object is in.
        kinds: ``(G,)`` int: class of each object.
        boxes: ``(G, 4)`` float64 xyxy, picture pixels.
        masks: Run lengths of each object's mask; None where nobody needs masks.
        areas: ``(G,)`` float64: pixels of the mask, or area of the box where there are no masks.
    """

    classes: int
    image_sizes: tuple[tuple[int, int], ...]
    pictures: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    masks: tuple[RunLengths, ...] | None
    areas: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def unseen(self) -> int:
        """Number of objects that cover no pixel centre; none without masks."""
        return 0 if self.masks is None else int((self.areas == 0).sum())


def read_objects(picture: Path) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """Reads the label file of a picture, which `lineside.export.labels.check_label` found sound.

    Args:
        picture: The picture; without a label file it holds no object.

    Returns:
        For each object its class and its ``(K, 2)`` outline x, y in 0..1; a box gives its 4 corners.
    """
    label = label_of(picture)
    if not label.is_file():
        return []
    lines = dict.fromkeys(" ".join(line.split()) for line in label.read_text(encoding="utf-8").splitlines())
    objects = []
    for line in lines:
        if line:
            kind, *numbers = map(float, line.split())
            objects.append((int(kind), np.clip(_outline(numbers), 0, 1)))
    return objects


def label_truth(
    pictures: Sequence[Path], image_sizes: Sequence[tuple[int, int]], classes: int, with_masks: bool
) -> Truth:
    """The ground truth in the label files of some pictures.

    Args:
        pictures: Picture files with sound labels.
        image_sizes: Height and width of each picture, px.
        classes: Number of classes.
        with_masks: Whether masks are needed.

    Raises:
        MissingPackage: pycocotools is not installed.
    """
    where, kinds, boxes, masks = [], [], [], []
    for index, (picture, (height, width)) in enumerate(zip(pictures, image_sizes, strict=True)):
        for kind, outline in read_objects(picture):
            points = outline * [width, height]
            where.append(index)
            kinds.append(kind)
            boxes.append([*points.min(0), *points.max(0)])
            if with_masks:
                masks.append(filled(points, (height, width)))
    table = np.array(boxes, np.float64).reshape(-1, 4)
    return Truth(
        classes=classes,
        image_sizes=tuple(image_sizes),
        pictures=np.array(where, np.int64),
        kinds=np.array(kinds, np.int64),
        boxes=table,
        masks=tuple(masks) if with_masks else None,
        areas=_areas(masks) if with_masks else (table[:, 2] - table[:, 0]) * (table[:, 3] - table[:, 1]),
    )


def mask_truth(tables: Sequence[Sequence[npt.NDArray[np.bool_]]], image_sizes: Sequence[tuple[int, int]]) -> Truth:
    """A ground truth of one class from masks that somebody has already.

    Args:
        tables: For each picture the masks of its objects, ``(H, W)`` bool.
        image_sizes: Height and width of each picture, px.

    Returns:
        The truth; a box is the tight box of the mask's pixels.
    """
    where, boxes, masks = [], [], []
    for index, objects in enumerate(tables):
        for table in objects:
            mask = Mask.from_array(table)
            x0, y0, crop = mask.crop()
            where.append(index)
            boxes.append([x0, y0, x0 + crop.shape[1], y0 + crop.shape[0]])
            masks.append(mask.rle())
    return Truth(
        classes=1,
        image_sizes=tuple(image_sizes),
        pictures=np.array(where, np.int64),
        kinds=np.zeros(len(where), np.int64),
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        masks=tuple(masks),
        areas=_areas(masks),
    )


def filled(points: npt.NDArray[np.float64], image_size: tuple[int, int]) -> RunLengths:
    """The mask of an outline.

    Args:
        points: ``(K >= 3, 2)`` x, y in picture pixels.
        image_size: Height and width of the picture.
    """
    tools = mask_tools()
    (rle,) = tools.frPyObjects([points.ravel().tolist()], *image_size)
    return {"size": list(image_size), "counts": rle["counts"].decode("ascii")}


def _outline(numbers: list[float]) -> npt.NDArray[np.float64]:
    """Points of a label line; a line of 4 numbers is a box by its centre and its sides."""
    if len(numbers) == 4:
        x, y, width, height = numbers
        left, right, top, bottom = x - width / 2, x + width / 2, y - height / 2, y + height / 2
        numbers = [left, top, right, top, right, bottom, left, bottom]
    return np.array(numbers, np.float64).reshape(-1, 2)


def _areas(masks: Sequence[RunLengths]) -> npt.NDArray[np.float64]:
    """Pixels of each mask."""
    return np.array([Mask.from_rle(rle).area for rle in masks], np.float64)
