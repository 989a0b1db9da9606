"""Where a model puts detections on a par, rounding decides which of them stay: no fault; and every real fault is one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from helpers import tiny_bundle as tiny
from lineside.export import importing
from lineside.export.golden import _candidates, part_of_all
from lineside.export.importing import import_onnx
from lineside.export.parity.budget import FP32
from lineside.export.parity.detect import Chosen, detect
from lineside.export.parity.letterbox import place
from lineside.export.parity.plain_onnx import OnnxReference
from lineside.export.parity.reference import Seen
from lineside.export.pictures import Picture
from lineside.export.prove import prove
from lineside.export.undecided import outlook
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.detections import Detections
from lineside.runtime.errors import CheckFailed
from lineside.runtime.postprocess import Postprocessor
from lineside.runtime.ties import Candidates, contradiction
from lineside.runtime.verify import VerifyReport, verify_bundle

ROUNDING = 2e-5
"""Share of a score that rounding may change here: a float32 graph's logits differ by less."""


def shaken(seen: Seen, seed: int, much: float = ROUNDING) -> Seen:
    """The same view, rounded otherwise."""
    noise = torch.rand(seen.scores.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return replace(seen, scores=seen.scores * (1 + much * (2 * noise - 1)))


# What may be found, against what is found under all sorts of rounding.


def drawn(seed: int, anchors: int, classes: int, plains: int, side: float) -> Seen:
    """Boxes on a plain, with a few scores in all, many of them on a par."""
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, 12, (anchors, 2)) * 4.0
    half = side * rng.choice([1.0, 1.25], (anchors, 2))
    boxes = torch.from_numpy(np.concatenate([centre - half, centre + half], 1))
    scores = torch.from_numpy(rng.choice(np.linspace(0.002, 0.02, plains), (anchors, classes)))
    return Seen(
        placement=place((48, 48), (48, 48)), pixels=np.zeros((48, 48, 3), np.uint8), raw={}, input_boxes=boxes,
        boxes=boxes.clamp(0, 48), scores=scores, coefficients=torch.zeros(anchors, 0), protos=torch.zeros(0, 12, 12),
    )  # fmt: skip


SCENES = st.builds(
    drawn, st.integers(0, 2**32 - 1), st.integers(4, 60), st.integers(1, 2), st.integers(1, 6), st.sampled_from([4, 9])
)
IOUS = st.sampled_from([0.5, 0.61, 0.7])


def which(rows: Candidates, chosen: Chosen) -> tuple[npt.NDArray[np.bool_], bool]:
    """Which candidates were chosen, and whether nothing else was."""
    pairs = set(zip(chosen.anchors.tolist(), chosen.classes.tolist(), strict=True))
    listed = zip(rows.anchors.tolist(), rows.classes.tolist(), strict=True)
    found = np.array([pair in pairs for pair in listed], np.bool_)
    return found, int(found.sum()) == len(pairs)


@given(SCENES, IOUS, st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_whatever_rounding_makes_of_it_is_explained(seen: Seen, iou: float, seed: int) -> None:
    conf = 0.0111  # between two plains, or on none
    may = outlook(seen, conf, iou)
    assert may is not None
    rows = _candidates(seen, may)
    for turn in range(3):
        found, no_other = which(rows, detect(shaken(seen, seed + turn), conf, iou, 1000))
        assert no_other, "found what was said not to be possible"
        assert found[~may.open].all(), "missing what was said to be certain"
        assert contradiction(rows, found, conf, iou, final=False) == ""


@given(SCENES, IOUS, st.data())
@settings(deadline=None, max_examples=40)
def test_one_more_or_one_less_is_not(seen: Seen, iou: float, data: st.DataObject) -> None:
    thresholds = part_of_all(seen)
    if thresholds is None:
        return
    conf, _ = thresholds
    may = outlook(seen, conf, iou)
    assert may is not None
    rows = _candidates(seen, may)
    found, _ = which(rows, detect(seen, conf, iou, 1000))
    one = data.draw(st.integers(0, len(found) - 1))
    # An overlap within a hair of the threshold, and an anchor whose two classes are on a par, are told from neither side.
    near = np.abs(tiny_iou(rows.input_boxes, one) - iou) < 2e-3
    if near.any() or (rows.anchors == rows.anchors[one]).sum() > 1:
        return
    found[one] = not found[one]
    assert contradiction(rows, found, conf, iou, final=False)


def tiny_iou(boxes: npt.NDArray[np.float32], one: int) -> npt.NDArray[np.float64]:
    """IoU of one box with all."""
    b = boxes.astype(np.float64)
    sides = np.minimum(b[:, 2:], b[one, 2:]) - np.maximum(b[:, :2], b[one, :2])
    inner = np.clip(sides, 0, None).prod(1)
    area = (b[:, 2:] - b[:, :2]).prod(1)
    return np.asarray(inner / (area + area[one] - inner))


@given(SCENES, IOUS)
@settings(deadline=None, max_examples=40)
def test_what_is_clear_is_no_more_than_what_torch_found(seen: Seen, iou: float) -> None:
    """No two scores on a par: one answer, and any other set of detections is wrong."""
    levels = torch.linspace(-6, -3, seen.scores.numel(), dtype=torch.float64).reshape(seen.scores.shape)
    seen = replace(seen, scores=torch.sigmoid(levels[torch.randperm(len(levels), generator=torch.Generator())]))
    may = outlook(seen, 0.0111, iou)
    assert may is not None
    if may.settled:  # else an overlap is within a hair of the threshold
        chosen = detect(seen, 0.0111, iou, 1000)
        assert sorted(may.anchors.tolist()) == sorted(chosen.anchors.tolist())


# A bundle whose model is blind: every anchor of a plain picture has one score.

SIZE = (64, 64)
GREYS = range(150, 158)


@pytest.fixture
def blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle whose boxes reach so far that neighbours suppress each other."""
    monkeypatch.setattr(tiny, "REACH", 6.0)
    return tiny.tiny_bundle(tmp_path / "work", kind="flat", size=SIZE)


def plain_pictures() -> list[Picture]:
    return [Picture(f"grey {grey}", np.full((*SIZE, 3), (grey, grey, grey - 40), np.uint8)) for grey in GREYS]


def reference_of(bundle: Path, seed: int) -> Callable[[npt.NDArray[np.uint8]], Seen]:
    """The same graph, rounded otherwise."""
    head = open_bundle(bundle).manifest.head
    plain = OnnxReference((bundle / "model.onnx").read_bytes(), head, 1, optimise=False)
    return lambda frame: shaken(plain(frame), seed)


def proved(bundle: Path, seed: int = 1) -> VerifyReport:
    """Through the gate, as export and import do it."""
    budget = msgspec.structs.replace(FP32, tie_score=1e-6)
    pictures = plain_pictures()
    _, verified, _ = prove(
        bundle, bundle.with_name("x.bundle"), open_bundle(bundle).manifest, reference_of(bundle, seed), pictures,
        pictures, budget, described="the same", pictures_from="greys",
    )  # fmt: skip
    return verified


def test_a_model_that_puts_everything_on_a_par_passes(blind: Path) -> None:
    verified = proved(blind)
    assert verified.passed
    assert all(result.undecided > result.expected >= 3 for result in verified.golden)
    assert verify_bundle(open_bundle(blind)).passed


def test_without_the_candidates_rounding_is_called_a_fault(blind: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this is about: the very anchors that the reference kept are not those that the runtime keeps."""
    monkeypatch.setattr("lineside.export.golden.outlook", lambda seen, conf, iou: None)
    with pytest.raises(CheckFailed, match="matched|off by"):
        proved(blind)


Change = Callable[[Detections], Detections]


def changed(monkeypatch: pytest.MonkeyPatch, change: Change, **options: float) -> None:
    """A runtime with a fault in what it answers, where it suppresses at all."""
    run = Postprocessor.run

    def faulty(self: Postprocessor, outputs: Any, box: Any, **given: Any) -> Detections:
        if given["iou"] >= 1:
            return run(self, outputs, box, **given)
        return change(run(self, outputs, box, **{**given, **options}))

    monkeypatch.setattr(Postprocessor, "run", faulty)


def same(found: Detections) -> Detections:
    return found


FAULTS: dict[str, tuple[Change, dict[str, float], str]] = {
    "one too few": (lambda found: found[1:], {}, "missing"),
    "only the first": (lambda found: found[:1], {}, "missing"),
    "one twice": (lambda found: found[[0, *range(len(found))]], {}, "none that the original"),
    "no suppression": (same, {"iou": 1.0}, "suppressed each other"),
    "too little suppression": (same, {"iou": 0.9}, "suppressed each other"),
    "too much suppression": (same, {"iou": 0.2}, "missing"),
    "too high a threshold": (same, {"conf": 0.9}, "missing"),
    "another class": (lambda f: replace(f, classes=1 - f.classes), {}, "none that the original|missing"),
    "boxes half a pixel away": (lambda f: replace(f, boxes=f.boxes + np.float32(0.5)), {}, "a box is off"),
    "scores too high": (lambda f: replace(f, scores=f.scores + np.float32(0.003)), {}, "a score is off"),
    "masks of each other": (lambda f: replace(f, masks=f.masks[::-1]), {}, "the masks have"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_still_one(blind: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    change, options, says = FAULTS[fault]
    assert proved(blind).passed
    changed(monkeypatch, change, **options)
    report = verify_bundle(open_bundle(blind))
    assert not report.passed
    for result in report.golden:
        assert re.search(says, result.reason), result


@pytest.mark.parametrize("fault", ["one too few", "too little suppression", "masks of each other"])
def test_export_and_import_see_it_too(blind: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    change, options, says = FAULTS[fault]
    changed(monkeypatch, change, **options)
    with pytest.raises(CheckFailed, match=says):
        proved(blind)
    with pytest.raises(CheckFailed, match=says):
        imported(blind, tmp_path, monkeypatch)


def imported(blind: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VerifyReport:
    """The graph as a foreign ONNX, its own session rounding otherwise."""
    import cv2

    class Otherwise(OnnxReference):
        def __call__(self, frame: npt.NDArray[np.uint8]) -> Seen:
            return shaken(super().__call__(frame), 7)

    monkeypatch.setattr(importing, "OnnxReference", Otherwise)
    model = onnx.load(blind / "model.onnx")
    onnx.helper.set_model_props(model, {"task": "segment", "names": "{0: 'a', 1: 'b'}"})
    onnx.save(model, tmp_path / "foreign.onnx")
    folder = tmp_path / "greys"
    folder.mkdir(exist_ok=True)
    for picture in plain_pictures():
        cv2.imwrite(str(folder / f"{picture.name}.png"), picture.frame)
    return import_onnx(tmp_path / "foreign.onnx", tmp_path / "imported.bundle", images=folder).verified


def test_import_of_such_a_model_passes(blind: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = imported(blind, tmp_path, monkeypatch)
    assert verified.passed and all(result.undecided for result in verified.golden)


@pytest.mark.parametrize("shift", [-3.0, -0.05, 0.05])
def test_another_model_is_another_model(blind: Path, shift: float) -> None:
    """Logits that are off by more than rounding."""
    assert proved(blind).passed
    model, manifest = onnx.load(blind / "model.onnx"), open_bundle(blind).manifest
    for weight in model.graph.initializer:
        value = numpy_helper.to_array(weight)
        if value.shape == (2,) and np.allclose(value, -0.6 * tiny.GAIN):  # the bias of the class logits
            weight.CopyFrom(numpy_helper.from_array(value + np.float32(shift), weight.name))
    onnx.save(model, blind / "model.onnx")
    write_manifest(blind, manifest)
    report = verify_bundle(open_bundle(blind))
    assert not report.passed and all(re.search("missing|a score is off", result.reason) for result in report.golden)
