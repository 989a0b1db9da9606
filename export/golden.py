"""Makes golden files: what torch saw, at thresholds where a rounding error changes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lineside.export.parity.anchors import logit
from lineside.export.parity.detect import Chosen, detect
from lineside.export.parity.reference import Reference, Seen
from lineside.export.parity.rule import rule_mask
from lineside.export.pictures import Picture
from lineside.runtime.errors import ExportError
from lineside.runtime.golden import Golden, rle_of_mask, write_golden

__all__ = ["GOLDEN_FILES", "choose_thresholds", "golden_of", "is_settled", "write_goldens"]

GOLDEN_FILES = 3

FEWEST, MOST = 3, 32
"""Detections that a golden file should hold."""

IOUS = (0.7, 0.65, 0.75, 0.6, 0.8, 0.55, 0.5)
"""Overlap thresholds to try, the usual one first."""

SAFE_OVERLAP = 1e-3
SAFE_LOGIT = 5e-3
"""How far thresholds should stay away from every overlap and score, and a class from the next one."""

ENOUGH = 0.02
"""Share of these distances that will do: still tens of times the difference between two processors."""

NUDGE = ENOUGH * SAFE_LOGIT
"""How much the logits of scores are nudged, to see whether the same detections stay."""

NUDGES = 4
"""How many times."""

SAME_BOX = 0.05
"""Sides of boxes may differ by so many pixels of the picture, and they are still the same."""

TRIES = 4
"""Score thresholds to try per overlap threshold."""


def choose_thresholds(seen: Seen, wish: float = 0.25) -> tuple[float, float] | None:
    """Finds thresholds at which a picture's detections are the same under small errors.

    Args:
        seen: Torch's view of the picture.
        wish: Score threshold to stay near to where enough detections pass it.

    Returns:
        ``(conf, iou)``, or None where the picture has no clear choice.
    """
    best, choice = ENOUGH, None
    for iou in IOUS:
        levels = logit(detect(seen, 0.0, iou, MOST + 1).scores.numpy())
        usual = int(np.count_nonzero(levels > logit(np.float64(wish))))
        low, high = (max(FEWEST, usual - 3), min(MOST, usual + 3)) if usual >= FEWEST else (FEWEST, 24)
        counts = np.arange(low, min(high, len(levels) - 1) + 1)
        gaps = levels[counts - 1] - levels[counts]
        for pick in np.argsort(-gaps, kind="stable")[:TRIES]:
            count = int(counts[pick])
            conf = float(1 / (1 + np.exp(-(levels[count - 1] + levels[count]) / 2)))
            safety = min(float(gaps[pick]) / 2 / SAFE_LOGIT, _safety(seen, detect(seen, conf, iou, MOST)))
            if safety >= 1:
                return conf, iou
            if safety > best:
                best, choice = safety, (conf, iou)
    return choice


def is_settled(seen: Seen, conf: float, iou: float) -> bool:
    """Whether the same boxes stay where every score is a little wrong.

    A model that was hardly trained gives neighbouring anchors one score, and rounding says which of two suppresses the
    other.

    Args:
        seen: Torch's view of the picture.
        conf: Score threshold.
        iou: Overlap threshold.
    """
    chosen = detect(seen, conf, iou, MOST)
    own = torch.column_stack([seen.boxes[chosen.anchors], chosen.classes.double() * 1e6])
    noise = torch.Generator().manual_seed(0)
    for _ in range(NUDGES):
        factors = 1 + NUDGE * (2 * torch.rand(seen.scores.shape, generator=noise, dtype=torch.float64) - 1)
        other = detect(dataclasses.replace(seen, scores=seen.scores * factors), conf, iou, MOST)
        if len(other.anchors) != len(chosen.anchors):
            return False
        boxes = torch.column_stack([seen.boxes[other.anchors], other.classes.double() * 1e6])
        away = (own[:, None] - boxes[None]).abs().amax(2)
        if len(away) and float(torch.maximum(away.amin(0), away.amin(1)).max()) > SAME_BOX:
            return False
    return True


def golden_of(name: str, seen: Seen, conf: float, iou: float, outputs: bool) -> Golden:
    """The golden file of a picture.

    Args:
        name: Name inside the bundle.
        seen: Torch's view of the picture.
        conf: Score threshold.
        iou: Overlap threshold.
        outputs: Record the raw outputs as well.
    """
    chosen = detect(seen, conf, iou, MOST)
    rle = None
    if seen.coefficients.shape[1]:
        rle = tuple(
            rle_of_mask(rule_mask(seen.coefficients[anchor], seen.protos, seen.boxes[anchor], seen.placement))
            for anchor in chosen.anchors
        )
    return Golden(
        name=name,
        pixels=seen.pixels,
        image_size=seen.placement.image_size,
        conf=conf,
        iou=iou,
        max_det=MOST,
        boxes=seen.boxes[chosen.anchors].numpy().astype(np.float32),
        scores=chosen.scores.numpy().astype(np.float32),
        classes=chosen.classes.numpy().astype(np.int32),
        rle=rle,
        outputs={key: value.astype(np.float16) for key, value in seen.raw.items()} if outputs else {},
    )


def write_goldens(folder: Path, reference: Reference, pictures: Sequence[Picture]) -> int:
    """Writes the golden files of a bundle: of pictures with high scores, settled ones first (`is_settled`).

    Args:
        folder: The bundle; ``golden/`` is made inside.
        reference: What the bundle must agree with.
        pictures: What to choose from.

    Returns:
        Number of detections in them.

    Raises:
        ExportError: Too few pictures have detections to compare.
    """
    (folder / "golden").mkdir()
    views = [reference(picture.frame) for picture in pictures]
    settled: list[tuple[Seen, tuple[float, float]]] = []
    others: list[tuple[Seen, tuple[float, float]]] = []
    for seen in sorted(views, key=lambda view: -float(view.scores.max())):
        thresholds = choose_thresholds(seen)
        if thresholds is not None:
            (settled if is_settled(seen, *thresholds) else others).append((seen, thresholds))
        if len(settled) == GOLDEN_FILES:
            break
    taken = [*settled, *others][:GOLDEN_FILES]
    if len(taken) == GOLDEN_FILES:
        detections = 0
        for number, (seen, thresholds) in enumerate(taken):
            name = f"golden/{number:03}.npz"
            golden = golden_of(name, seen, *thresholds, outputs=number == 0)
            write_golden(str(folder / name), golden)
            detections += len(golden.scores)
        return detections
    raise ExportError(
        f"only {len(taken)} of {len(pictures)} pictures give clear detections and a bundle needs {GOLDEN_FILES} golden "
        "files: give other pictures with --images, or train the model further"
    )


def _safety(seen: Seen, chosen: Chosen) -> float:
    """How far overlaps are from the threshold and classes from the next one; 1 and above is safe."""
    overlap = chosen.margin / SAFE_OVERLAP
    if seen.scores.shape[1] < 2 or not len(chosen.anchors):
        return overlap
    best = logit(torch.topk(seen.scores[chosen.anchors], 2, dim=1).values.numpy())
    return min(overlap, float((best[:, 0] - best[:, 1]).min()) / SAFE_LOGIT)
