"""The runtime and ultralytics' own prediction, each by way of the measurement, see the same in the same pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from lineside.export.accuracy.found import Found
from lineside.export.accuracy.through_bundle import through_bundle
from lineside.export.accuracy.through_torch import through_torch
from lineside.export.accuracy.validation import validate
from lineside.export.bundle import export_bundle
from lineside.export.cut import fused, rounded_to_fp16
from lineside.export.pictures import drawn_pictures
from lineside.export.settle import settle
from lineside.export.synth.dataset import write_dataset
from lineside.export.ultra import load_model
from lineside.runtime.loading import load
from lineside.runtime.masks import Mask

SIZE = (128, 128)


def agree(bundle: Path, model: nn.Module, monkeypatch: pytest.MonkeyPatch, end2end: bool = False) -> None:
    """Compares what both see; few detections stand on a threshold and may differ."""
    with load(bundle) as loaded:
        side = loaded.manifest.input.size[0]
        # Not scaled, or halved, and padded by whole prototype cells: there both resample in the same way.
        sizes = [(side, side), (side - 40, side), (side, side - 48), (2 * side - 80, 2 * side)]
        frames = [picture.frame for picture in drawn_pictures((), sizes)]
        lower(monkeypatch, 0.0)
        # Nobody trained this model, so that its scores are low: as many as the best fifty of a picture are compared.
        everything = [np.sort(it.scores)[::-1] for it in through_bundle(loaded, frames)]
        lower(monkeypatch, float(np.mean([scores[:50][-1] for scores in everything])))
        ours = list(through_bundle(loaded, frames))
        theirs = list(through_torch(model, frames, loaded.manifest.input.size, end2end))
    assert len(ours) == len(theirs) == len(frames)
    compared, matched, overlaps = 0, 0, []
    for frame, one, other in zip(frames, ours, theirs, strict=True):
        assert one.image_size == other.image_size == frame.shape[:2]
        assert (one.masks is None) == (other.masks is None)
        kept = [i for i in range(len(one.scores)) if one.masks is None or Mask.from_rle(one.masks[i]).area]
        pairs = [(i, nearest) for i in kept if (nearest := match(one, i, other)) is not None]
        compared += max(len(kept), len(other.scores))
        matched += len(pairs)
        if one.masks is not None and other.masks is not None:
            overlaps += [iou(one.masks[i], other.masks[nearest]) for i, nearest in pairs]
    assert compared > 50
    assert matched >= 0.98 * compared
    assert len(overlaps) == (0 if ours[0].masks is None else matched)
    assert min(overlaps, default=1) > 0.999


def lower(monkeypatch: pytest.MonkeyPatch, conf: float) -> None:
    """Lets both sides see detections with lower scores."""
    for way in ("through_bundle", "through_torch"):
        monkeypatch.setattr(f"lineside.export.accuracy.{way}.CONF", conf)


def match(one: Found, index: int, other: Found) -> int | None:
    """The detection of the other side with the same class and box, and of those the nearest score.

    Many boxes of a model that nobody trained are the whole picture, and only their scores tell them apart.
    """
    far = np.abs(other.scores - one.scores[index])
    same = np.abs(other.boxes - one.boxes[index]).max(axis=1, initial=0) < 0.2
    same &= (far < 1e-3) & (other.classes == one.classes[index])
    return int(np.argmin(np.where(same, far, np.inf))) if same.any() else None


def iou(one: object, other: object) -> float:
    a, b = (Mask.from_rle(rle).to_array() for rle in (one, other))  # type: ignore[arg-type]
    return float((a & b).sum() / (a | b).sum())


def settled(yaml: str, end2end: bool = False) -> nn.Module:
    """The model that `lineside export YAML --weights fp16` makes a bundle of."""
    model = load_model(yaml)
    settle(model, drawn_pictures(()))
    plain = rounded_to_fp16(fused(model, end2end))
    plain.task = model.task
    return plain


def test_masks_and_boxes(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agree(real, settled("yolo11n-seg.yaml"), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("yaml", "end2end"), [("yolo11n.yaml", False), ("yolo26n-seg.yaml", True), ("yolo26n-seg.yaml", False)]
)
def test_other_heads(yaml: str, end2end: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detection model, and the part of a head that needs no suppression: torch uses the part that the bundle has."""
    made = export_bundle(yaml, tmp_path / "it.bundle", imgsz=SIZE, storage="fp16", end2end=end2end)
    agree(made.path, settled(yaml, end2end), monkeypatch, end2end)


def test_many_masks_are_made_a_few_at_a_time(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many exist at a time changes nothing."""
    model = settled("yolo11n-seg.yaml")
    lower(monkeypatch, 0.0)
    frames = [drawn_pictures((), [(120, 160)])[0].frame]
    seen = []
    for count in (1, 7, 1000):
        monkeypatch.setattr("lineside.export.accuracy.through_torch.AT_A_TIME", count)
        (found,) = through_torch(model, frames, (160, 160))
        seen.append((found.boxes.tolist(), found.scores.tolist(), found.masks))
    assert len(seen[0][1]) > 20
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("end2end", [False, True])
def test_validation_uses_the_part_of_the_bundle_and_leaves_the_model(end2end: bool, tmp_path: Path) -> None:
    data = write_dataset("tube", tmp_path, 1, 1, 64, seed=1)
    model = load_model("yolo26n-seg.yaml")
    used: list[bool] = []
    model.model[-1].register_forward_pre_hook(lambda head, inputs: used.append(head.end2end))
    before = [name for name, _ in model.named_modules()]
    validate(model, sorted((data.parent / "images/val").iterdir()), [0, *[None] * 79], 64, end2end)
    assert set(used) == {end2end}
    assert [name for name, _ in model.named_modules()] == before
