"""Makes golden files: what torch saw, at thresholds where a rounding error changes nothing.

Where no thresholds are like that, because a hardly trained model puts many anchors on a par, the file also says what
else may be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lineside.export.parity.anchors import logit
from lineside.export.parity.detect import Chosen, detect
from lineside.export.parity.reference import Reference, Seen
from lineside.export.parity.rule import rule_mask
from lineside.export.pictures import Picture
from lineside.export.undecided import Outlook, outlook
from lineside.runtime.errors import ExportError
from lineside.runtime.golden import Golden, rle_of_mask, write_golden
from lineside.runtime.ties import MOST_CANDIDATES, Candidates, clearly_above

__all__ = ["GOLDEN_FILES", "choose_thresholds", "golden_of", "part_of_all", "write_goldens"]

GOLDEN_FILES = 3

FEWEST, MOST = 3, 32
"""Detections that a golden file should hold."""

MOST_OPEN = 128
"""So many where rounding decides which: whole plains of anchors on a par are in it or not."""

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


def part_of_all(seen: Seen) -> tuple[float, float] | None:
    """Finds thresholds where scores are on a par: a score threshold that parts all scores clearly, suppressed or not.

    Whatever suppresses what, the same candidates are then above it, and as few as will do.

    Args:
        seen: Torch's view of the picture.

    Returns:
        ``(conf, iou)``, or None where scores leave no such gap.
    """
    scores = seen.scores.amax(1).sort(descending=True).values[: MOST_CANDIDATES + 1].numpy()
    levels = logit(scores)
    if len(levels) <= MOST_CANDIDATES:
        levels = np.append(levels, levels[-1] - 1)  # below all of them there is room as well
    middles = 1 / (1 + np.exp(-(levels[:-1] + levels[1:]) / 2))
    ends = 1 / (1 + np.exp(-levels))
    clear = clearly_above(ends[:-1], middles) & clearly_above(middles, ends[1:])
    for iou in IOUS:
        own = detect(seen, 0.0, iou, MOST_OPEN + 1).scores.numpy()
        counts = (own[None] > middles[:, None]).sum(1)
        fits = np.flatnonzero(clear & (counts >= FEWEST) & (counts <= MOST_OPEN))
        if fits.size:
            return float(middles[fits[0]]), iou
    return None


def golden_of(name: str, seen: Seen, conf: float, iou: float, outputs: bool, may: Outlook | None = None) -> Golden:
    """The golden file of a picture.

    Args:
        name: Name inside the bundle.
        seen: Torch's view of the picture.
        conf: Score threshold.
        iou: Overlap threshold.
        outputs: Record the raw outputs as well.
        may: What may be found; it is recorded where rounding decides about some of it.
    """
    candidates = None if may is None or may.settled else _candidates(seen, may)
    most = MOST if candidates is None else max(MOST, len(candidates.scores) + 1)  # one too many is to be seen
    chosen = detect(seen, conf, iou, most)
    return Golden(
        name=name,
        pixels=seen.pixels,
        image_size=seen.placement.image_size,
        conf=conf,
        iou=iou,
        max_det=most,
        boxes=seen.boxes[chosen.anchors].numpy().astype(np.float32),
        scores=chosen.scores.numpy().astype(np.float32),
        classes=chosen.classes.numpy().astype(np.int32),
        rle=_masks(seen, chosen.anchors),
        outputs={key: value.astype(np.float16) for key, value in seen.raw.items()} if outputs else {},
        candidates=candidates,
    )


def write_goldens(folder: Path, reference: Reference, pictures: Sequence[Picture]) -> int:
    """Writes the golden files of a bundle: of pictures with high scores, first those that leave nothing to rounding.

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
    choices: list[_Choice] = []
    for seen in sorted(views, key=lambda view: -float(view.scores.max())):
        choice = _choice(seen)
        if choice is not None:
            choices.append(choice)
        if sum(not choice.doubt for choice in choices) == GOLDEN_FILES:
            break
    taken = sorted(choices, key=lambda choice: choice.doubt)[:GOLDEN_FILES]
    if len(taken) == GOLDEN_FILES:
        detections = 0
        for number, choice in enumerate(taken):
            name = f"golden/{number:03}.npz"
            golden = golden_of(name, choice.seen, choice.conf, choice.iou, outputs=number == 0, may=choice.may)
            write_golden(str(folder / name), golden)
            detections += len(golden.scores)
        return detections
    raise ExportError(
        f"only {len(taken)} of {len(pictures)} pictures give clear detections and a bundle needs {GOLDEN_FILES} golden "
        "files: give other pictures with --images, or train the model further"
    )


@dataclass(frozen=True)
class _Choice:
    """A picture with thresholds, and what may be found at them; None where that is too much to say."""

    seen: Seen
    conf: float
    iou: float
    may: Outlook | None

    @property
    def doubt(self) -> int:
        """0 where nothing is left to rounding, 1 where it is known what may be found, else 2."""
        return 2 if self.may is None else int(not self.may.settled)


def _choice(seen: Seen) -> _Choice | None:
    """Thresholds that leave nothing to rounding, else ones where at least the score threshold is clear, else any."""
    usual = _with_outlook(seen, choose_thresholds(seen))
    if usual is not None and not usual.doubt:
        return usual
    parted = _with_outlook(seen, part_of_all(seen))
    return min((choice for choice in (parted, usual) if choice), key=lambda choice: choice.doubt, default=None)


def _with_outlook(seen: Seen, thresholds: tuple[float, float] | None) -> _Choice | None:
    """Thresholds, if there are any, and what may be found at them."""
    return None if thresholds is None else _Choice(seen, *thresholds, outlook(seen, *thresholds))


def _candidates(seen: Seen, may: Outlook) -> Candidates:
    """What may be found, as a golden file holds it."""
    return Candidates(
        anchors=may.anchors.astype(np.int32),
        classes=may.classes.astype(np.int32),
        scores=seen.scores.numpy()[may.anchors, may.classes].astype(np.float32),
        boxes=seen.boxes.numpy()[may.anchors].astype(np.float32),
        input_boxes=seen.input_boxes.numpy()[may.anchors].astype(np.float32),
        rle=_masks(seen, torch.from_numpy(may.anchors)),
    )


def _masks(seen: Seen, anchors: torch.Tensor) -> tuple[str, ...] | None:
    """Run lengths of the masks of some anchors; None for a model without masks."""
    if not seen.coefficients.shape[1]:
        return None
    return tuple(
        rle_of_mask(rule_mask(seen.coefficients[anchor], seen.protos, seen.boxes[anchor], seen.placement))
        for anchor in anchors
    )


def _safety(seen: Seen, chosen: Chosen) -> float:
    """How far overlaps are from the threshold and classes from the next one; 1 and above is safe."""
    overlap = chosen.margin / SAFE_OVERLAP
    if seen.scores.shape[1] < 2 or not len(chosen.anchors):
        return overlap
    best = logit(torch.topk(seen.scores[chosen.anchors], 2, dim=1).values.numpy())
    return min(overlap, float((best[:, 0] - best[:, 1]).min()) / SAFE_LOGIT)
