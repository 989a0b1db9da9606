"""Makes golden files: what torch saw, at thresholds where a rounding error changes nothing."""

from __future__ import annotations

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

__all__ = ["GOLDEN_FILES", "choose_thresholds", "golden_of", "write_goldens"]

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
    """Writes the golden files of a bundle.

    Args:
        folder: The bundle; ``golden/`` is made inside.
        reference: What the bundle must agree with.
        pictures: What to choose from; those with the highest scores are taken.

    Returns:
        Number of detections in them.

    Raises:
        ExportError: Too few pictures have detections to compare.
    """
    (folder / "golden").mkdir()
    written = detections = 0
    views = [reference(picture.frame) for picture in pictures]
    for seen in sorted(views, key=lambda view: -float(view.scores.max())):
        thresholds = choose_thresholds(seen)
        if thresholds is None:
            continue
        name = f"golden/{written:03}.npz"
        golden = golden_of(name, seen, *thresholds, outputs=written == 0)
        write_golden(str(folder / name), golden)
        detections += len(golden.scores)
        written += 1
        if written == GOLDEN_FILES:
            return detections
    raise ExportError(
        f"only {written} of {len(pictures)} pictures give clear detections and a bundle needs {GOLDEN_FILES} golden "
        "files: give other pictures with --images, or train the model further"
    )


def _safety(seen: Seen, chosen: Chosen) -> float:
    """How far overlaps are from the threshold and classes from the next one; 1 and above is safe."""
    overlap = chosen.margin / SAFE_OVERLAP
    if seen.scores.shape[1] < 2 or not len(chosen.anchors):
        return overlap
    best = logit(torch.topk(seen.scores[chosen.anchors], 2, dim=1).values.numpy())
    return min(overlap, float((best[:, 0] - best[:, 1]).min()) / SAFE_LOGIT)
