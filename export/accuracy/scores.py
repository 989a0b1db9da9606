"""Figures of one model: all that its matches say, and the few that are drawn again for an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineside.export.accuracy.boundary import DISTANCES, boundary_f
from lineside.export.accuracy.found import Found
from lineside.export.accuracy.judge import Judged, Kind, judge, size_ranges
from lineside.export.accuracy.precision import average_precision
from lineside.export.accuracy.report import Figures, SizeFigures
from lineside.export.accuracy.truth import Truth
from lineside.runtime.masks import Mask

__all__ = ["Scores", "redrawn", "redrawn_boundaries", "score"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """How good boxes or masks of one model are.

    Attributes:
        judged: The matches.
        figures: What they say.
        boundaries: Boundary F at every distance of each object that was found at IoU 0.5, by its index in the truth;
            empty for boxes.
    """

    judged: Judged
    figures: Figures
    boundaries: dict[int, tuple[float, ...]]


def score(
    truth: Truth,
    found: Sequence[Found],
    kind: Kind,
    class_of: Sequence[int | None],
    names: Sequence[str],
    limits: Sequence[float],
) -> Scores:
    """Judges a model.

    Args:
        truth: What is in the pictures.
        found: What the model saw in each picture.
        kind: ``box`` or ``mask``.
        class_of: For each class of the model the class of the truth, or None where the truth has no such class.
        names: Class names of the truth.
        limits: Limits between sizes of objects, see `lineside.export.accuracy.judge.size_ranges`.

    Raises:
        MissingPackage: pycocotools is not installed.
    """
    judged = judge(truth, found, kind, class_of, limits)
    boundaries = {
        pair.truth: tuple(
            boundary_f(Mask.from_rle(pair.mask), Mask.from_rle(truth.masks[pair.truth]), d) for d in DISTANCES
        )
        for pair in judged.pairs
        if truth.masks is not None
    }
    means = _table(boundaries, list(boundaries)).mean(axis=0) if boundaries else np.full(len(DISTANCES), np.nan)
    figures = Figures(
        map50=judged.ap(0),
        map50_95=judged.ap(),
        classes={name: (judged.ap(0, i), judged.ap(None, i)) for i, name in enumerate(names) if i in truth.kinds},
        sizes=_by_size(truth, judged, kind, limits),
        boundary_f={} if kind == "box" else {f"{d:g}": float(means[i]) for i, d in enumerate(DISTANCES)},
        found=None if kind == "box" else len(judged.pairs),
    )
    return Scores(judged, figures, boundaries)


def redrawn(scores: Scores, draws: npt.NDArray[np.int64], size: int = 0) -> dict[str, Floats]:
    """Average precision for redrawn sets of pictures.

    Args:
        scores: Scores of one model.
        draws: ``(B, I)``: how often each picture was drawn.
        size: Range of sizes that counts; the first is all sizes.

    Returns:
        ``(B,)`` by name, ``mAP50`` and ``mAP50-95``: means over the classes that a draw holds; NaN where it holds none.
    """
    per_class = np.stack([average_precision(curve, draws) for curve in scores.judged.curves_by_size[size]])
    count = (~np.isnan(per_class[..., 0])).sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = np.nansum(per_class, axis=0) / count[:, None]
    return {"mAP50": mean[:, 0], "mAP50-95": mean.mean(axis=1)}


def redrawn_boundaries(ours: Scores, theirs: Scores, truth: Truth, draws: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """How much better one model's outlines are than another's, for redrawn sets of pictures.

    Over the objects that both found: a model that no longer finds what is hard to outline would seem the better one.

    Args:
        ours: Scores of the first model.
        theirs: Scores of the second.
        truth: What is in the pictures.
        draws: ``(B, I)``: how often each picture was drawn.

    Returns:
        ``(B,)`` by name, such as ``boundary F 1 px``; NaN where a draw holds no such object. Nothing without masks.
    """
    if not ours.figures.boundary_f:
        return {}
    both = sorted(ours.boundaries.keys() & theirs.boundaries.keys())
    better = _table(ours.boundaries, both) - _table(theirs.boundaries, both)
    weights = draws[:, truth.pictures[both]].astype(np.float64)
    with np.errstate(invalid="ignore"):
        means = (weights @ better) / weights.sum(axis=1, keepdims=True)
    return {f"boundary F {distance:g} px": means[:, i] for i, distance in enumerate(DISTANCES)}


def _by_size(truth: Truth, judged: Judged, kind: Kind, limits: Sequence[float]) -> tuple[SizeFigures, ...]:
    """Figures of each range of sizes; the first range is all sizes, which is told elsewhere."""
    sizes = np.sqrt(truth.areas[truth.areas > 0] if kind == "mask" else truth.areas)
    rows = []
    ranges = size_ranges(limits)
    for index, (low, high) in enumerate(ranges[1:], 1):
        last = index == len(ranges) - 1
        rows.append(
            SizeFigures(
                low=low,
                high=None if last else high,
                objects=int(((sizes >= low) & (sizes <= high)).sum()),
                map50=judged.ap(0, size=index),
                map50_95=judged.ap(size=index),
            )
        )
    return tuple(rows)


def _table(boundaries: dict[int, tuple[float, ...]], objects: Sequence[int]) -> Floats:
    """``(objects, distances)``."""
    return np.array([boundaries[index] for index in objects], np.float64).reshape(-1, len(DISTANCES))
