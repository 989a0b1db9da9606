"""Matches detections with the truth by COCO's rules, with COCO's own evaluator."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lineside.export.accuracy.evaluator import coco_index, quiet, require_evaluator
from lineside.export.accuracy.found import MAX_DET, Found
from lineside.export.accuracy.precision import Curve
from lineside.export.accuracy.truth import Truth
from lineside.runtime.masks import Mask, RunLengths

__all__ = ["SIZES", "Judged", "Kind", "Pair", "judge", "size_ranges"]

Kind = Literal["box", "mask"]

SIZES = (32.0, 96.0)
"""COCO's limits between small, medium and large: square roots of areas in pixels of the picture."""

LARGEST = 1e5
"""Side that no object exceeds, px; COCO's."""


@dataclass(frozen=True)
class Pair:
    """A detection and the object that it found at IoU 0.5.

    Attributes:
        picture: Index of the picture.
        truth: Index of the object in the truth.
        mask: Run lengths of the detection's mask.
    """

    picture: int
    truth: int
    mask: RunLengths


@dataclass(frozen=True)
class Judged:
    """What the evaluator says of one model.

    Attributes:
        precision: ``(T, R, K, A)`` at IoU thresholds 0.5, 0.55 … 0.95, 101 recalls, each class, and each range of sizes
            (the first is all sizes); -1 where there is no object. It is pycocotools' own.
        curves_by_size: For each range of sizes (the first is all sizes) one curve per class.
        pairs: For masks, what was matched at IoU 0.5, all scores.
    """

    precision: npt.NDArray[np.float64]
    curves_by_size: tuple[tuple[Curve, ...], ...]
    pairs: tuple[Pair, ...]

    @property
    def curves(self) -> tuple[Curve, ...]:
        """One per class, all sizes."""
        return self.curves_by_size[0]

    def ap(self, threshold: int | None = None, kind: int | None = None, size: int = 0) -> float:
        """Average precision.

        Args:
            threshold: Index of the IoU threshold (0 is 0.5); None for the mean over all ten.
            kind: Class; None for the mean over all that occur.
            size: Range of sizes.

        Returns:
            0 to 1; NaN where there is no such object.
        """
        thresholds = slice(None) if threshold is None else slice(threshold, threshold + 1)
        kinds = slice(None) if kind is None else slice(kind, kind + 1)
        values = self.precision[thresholds, :, kinds, size]
        values = values[values > -1]
        return float(values.mean()) if values.size else float("nan")


def size_ranges(limits: Sequence[float]) -> list[tuple[float, float]]:
    """Ranges of sizes: all, then below the first limit, between the limits, above the last.

    Args:
        limits: Square roots of areas, px, ascending.

    Returns:
        Lowest and highest size of each range, px; as with COCO an object on a limit belongs to both.
    """
    edges = [0.0, *limits, LARGEST]
    return [(0.0, LARGEST), *pairwise(edges)]


def judge(
    truth: Truth,
    found: Sequence[Found],
    kind: Kind,
    class_of: Sequence[int | None],
    limits: Sequence[float] = SIZES,
) -> Judged:
    """Judges all detections of a model.

    A detection with an empty mask is none where masks are judged: ultralytics drops those, the runtime keeps their box.

    Args:
        truth: What is in the pictures.
        found: What the model saw in each picture.
        kind: What overlaps are taken of.
        class_of: For each class of the model the class of the truth, or None where the truth has no such class.
        limits: See `size_ranges`.

    Raises:
        MissingPackage: pycocotools is not installed.
    """
    require_evaluator()
    images = [{"id": index, "height": h, "width": w} for index, (h, w) in enumerate(truth.image_sizes)]
    targets = _targets(truth, kind)
    results = _results(found, kind, class_of)
    evaluation = importlib.import_module("pycocotools.cocoeval").COCOeval(
        coco_index(images, targets, truth.classes),
        coco_index(images, results, truth.classes),
        "segm" if kind == "mask" else "bbox",
    )
    evaluation.params.imgIds = list(range(len(images)))
    evaluation.params.catIds = list(range(truth.classes))
    evaluation.params.maxDets = [MAX_DET]
    evaluation.params.areaRng = [[low**2, high**2] for low, high in size_ranges(limits)]
    evaluation.params.areaRngLbl = [str(index) for index in range(len(evaluation.params.areaRng))]
    with quiet():
        evaluation.evaluate()
        evaluation.accumulate()
    by_size = [
        [_notes(evaluation, index, size) for index in range(truth.classes)]
        for size in range(len(evaluation.params.areaRng))
    ]
    thresholds = len(evaluation.params.iouThrs)
    return Judged(
        precision=np.asarray(evaluation.eval["precision"])[..., 0],
        curves_by_size=tuple(
            tuple(_curve(entries, len(images), thresholds) for entries in per_class) for per_class in by_size
        ),
        pairs=tuple(_pairs(by_size[0], results)) if kind == "mask" else (),
    )


def _targets(truth: Truth, kind: Kind) -> list[dict[str, Any]]:
    """Objects as COCO annotations; one without a pixel is marked as a crowd, which the evaluator leaves out."""
    entries = []
    for index in range(len(truth)):
        x1, y1, x2, y2 = truth.boxes[index].tolist()
        entry = {
            "id": index + 1,
            "image_id": int(truth.pictures[index]),
            "category_id": int(truth.kinds[index]),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": float(truth.areas[index]),
            "iscrowd": int(kind == "mask" and truth.areas[index] == 0),
        }
        if kind == "mask":
            assert truth.masks is not None
            entry["segmentation"] = truth.masks[index]
        entries.append(entry)
    return entries


def _results(found: Sequence[Found], kind: Kind, class_of: Sequence[int | None]) -> list[dict[str, Any]]:
    """Detections as COCO annotations."""
    entries: list[dict[str, Any]] = []
    for picture, seen in enumerate(found):
        for index, score in enumerate(seen.scores.tolist()):
            category = class_of[int(seen.classes[index])]
            if category is None:
                continue
            x1, y1, x2, y2 = map(float, seen.boxes[index])
            entry = {
                "id": len(entries) + 1,
                "image_id": picture,
                "category_id": category,
                "score": score,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
            if kind == "mask":
                assert seen.masks is not None
                entry["area"] = Mask.from_rle(seen.masks[index]).area
                entry["segmentation"] = seen.masks[index]
                if not entry["area"]:
                    continue
            entries.append(entry)
    return entries


def _notes(evaluation: Any, kind: int, size: int) -> list[dict[str, Any]]:
    """What the evaluator noted for one class and one range of sizes, picture by picture."""
    images, ranges = len(evaluation.params.imgIds), len(evaluation.params.areaRng)
    first = (kind * ranges + size) * images
    return [entry for entry in evaluation.evalImgs[first : first + images] if entry is not None]


def _curve(entries: Sequence[dict[str, Any]], images: int, thresholds: int) -> Curve:
    """The notes of all pictures, best score first."""
    objects = np.zeros(images, np.int64)
    for entry in entries:
        objects[entry["image_id"]] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
    none = np.zeros((thresholds, 0), bool)
    scores = np.concatenate([np.asarray(entry["dtScores"], np.float64) for entry in entries] or [np.zeros(0)])
    order = np.argsort(-scores, kind="mergesort")  # as the evaluator sorts: equal scores stay in order
    counts = [len(entry["dtScores"]) for entry in entries]
    pictures = np.repeat(np.array([entry["image_id"] for entry in entries], np.int64), counts)
    return Curve(
        pictures=pictures[order],
        hits=np.concatenate([none, *(entry["dtMatches"] > 0 for entry in entries)], axis=1)[:, order],
        ignored=np.concatenate([none, *(entry["dtIgnore"].astype(bool) for entry in entries)], axis=1)[:, order],
        objects=objects,
    )


def _pairs(per_class: Sequence[Sequence[dict[str, Any]]], results: Sequence[dict[str, Any]]) -> list[Pair]:
    """Detections that found an object at IoU 0.5."""
    pairs = []
    for entries in per_class:
        for entry in entries:
            for detection, target, ignored in zip(
                entry["dtIds"], entry["dtMatches"][0], entry["dtIgnore"][0], strict=True
            ):
                if target and not ignored:
                    mask = results[detection - 1]["segmentation"]
                    pairs.append(Pair(entry["image_id"], int(target) - 1, mask))
    return pairs
