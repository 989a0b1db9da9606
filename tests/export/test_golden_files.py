from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lineside.export.golden import MOST, choose_thresholds, golden_of, write_goldens
from lineside.export.parity.detect import detect
from lineside.export.undecided import outlook
from lineside.runtime.bundle import list_golden, open_bundle, write_manifest
from lineside.runtime.errors import BundleDamaged
from lineside.runtime.golden import mask_of_rle, read_golden, rle_of_mask, write_golden

if TYPE_CHECKING:
    from conftest import Stage

coco = pytest.importorskip("pycocotools.mask")


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]))
def test_run_lengths_are_those_of_coco(height: int, width: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    code = rle_of_mask(mask)
    assert code == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert np.array_equal(mask_of_rle(code, (height, width)), mask)


@pytest.mark.parametrize("code", ["", "1", "99", "o", "0000000"])
def test_run_lengths_that_do_not_cover_the_picture(code: str) -> None:
    with pytest.raises(ValueError, match="do not cover"):
        mask_of_rle(code, (3, 5))


def test_thresholds_stay_away_from_every_score(stage: Stage) -> None:
    for picture in stage.pictures:
        view = stage.reference(picture.frame)
        thresholds = choose_thresholds(view)
        assert thresholds is not None
        conf, iou = thresholds
        chosen = detect(view, conf, iou, 100)
        assert 3 <= len(chosen.anchors) <= 32
        for nudge in (0.9999, 1.0001):
            assert detect(view, conf * nudge, iou, 100).anchors.tolist() == chosen.anchors.tolist()
        for nudge in (-1e-5, 1e-5):
            assert detect(view, conf, iou + nudge, 100).anchors.tolist() == chosen.anchors.tolist()


def test_a_picture_whose_scores_are_tied_comes_last(stage: Stage, tmp_path: Path) -> None:
    """Overlapping boxes with one score: rounding says which of them stays."""
    views = [stage.reference(picture.frame) for picture in stage.pictures[:4]]
    tied = dataclasses.replace(views[0], scores=views[0].scores.clone())
    tied.scores[:9, 3] = 0.9
    for view in views[1:]:
        thresholds = choose_thresholds(view)
        may = None if thresholds is None else outlook(view, *thresholds)
        assert may is not None and may.settled
    may = outlook(tied, 0.5, 0.7)
    assert may is not None and not may.settled
    answers = iter([tied, *views[1:]])
    assert write_goldens(tmp_path, lambda frame: next(answers), stage.pictures[:4]) >= 9
    for number in range(3):
        with np.load(tmp_path / "golden" / f"{number:03}.npz", allow_pickle=False) as archive:
            assert archive["scores"].max() < 0.9
            assert not any(name.startswith("candidate") for name in archive.files)
            assert archive["max_det"] == MOST


def test_candidates_are_written_and_read_again(stage: Stage, real: Path, tmp_path: Path) -> None:
    seen = stage.reference(stage.pictures[0].frame)
    seen = dataclasses.replace(seen, scores=torch.full_like(seen.scores, 1e-3))
    seen.scores[:40, 3] = 0.9
    may = outlook(seen, 0.5, 0.7)
    assert may is not None and not may.settled and len(may.anchors) == 40
    golden = golden_of("golden/000.npz", seen, 0.5, 0.7, outputs=False, may=may)
    bundle = open_bundle(shutil.copytree(real, tmp_path / "copy.bundle"))
    write_golden(str(bundle.path / "golden/000.npz"), golden)
    write_manifest(bundle.path, bundle.manifest)
    again = read_golden(open_bundle(bundle.path), "golden/000.npz").candidates
    assert golden.candidates is not None and again is not None and again.rle == golden.candidates.rle
    for name in ("anchors", "classes", "scores", "boxes", "input_boxes"):
        assert np.array_equal(getattr(again, name), getattr(golden.candidates, name))
    with np.load(bundle.path / "golden/000.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    for broken in ({"candidate_boxes": np.zeros((40, 3), np.float32)}, {"candidate_scores": np.zeros(39, np.float32)}):
        np.savez(bundle.path / "golden/000.npz", **(arrays | broken))
        write_manifest(bundle.path, bundle.manifest)
        with pytest.raises(BundleDamaged, match="does not fit"):
            read_golden(open_bundle(bundle.path), "golden/000.npz")


def test_written_and_read_again(stage: Stage, real: Path, tmp_path: Path) -> None:
    golden = golden_of("golden/000.npz", stage.reference(stage.pictures[0].frame), 1e-5, 0.7, outputs=True)
    assert len(golden.scores) and golden.rle is not None and len(golden.rle) == len(golden.scores)
    bundle = open_bundle(real)
    copy = tmp_path / "copy.npz"
    write_golden(str(copy), golden)
    with np.load(copy, allow_pickle=False) as archive:
        assert archive["pixels"].dtype == np.uint8 and archive["pixels"].shape == (160, 160, 3)
        assert archive["protos"].dtype == np.float16 and archive["protos"].shape == (1, 32, 40, 40)
    with open_bundle(real).tree.open("golden/000.npz") as file:
        assert file.read(2) == b"PK"
    again = read_golden(bundle, "golden/000.npz")
    assert set(again.outputs) == set(bundle.manifest.head.output_names)
    assert len(again.scores) >= 3 and again.rle is not None and len(again.rle) == len(again.scores)


def test_a_bundle_has_three_of_which_one_holds_raw_outputs(real: Path) -> None:
    bundle = open_bundle(real)
    files = [read_golden(bundle, name) for name in list_golden(bundle)]
    assert len(files) == 3 and [bool(golden.outputs) for golden in files] == [True, False, False]
    for golden in files:
        assert (np.diff(golden.scores) <= 0).all() and (golden.scores > golden.conf).all()
        height, width = golden.image_size
        assert (golden.boxes >= 0).all() and (golden.boxes <= [width, height, width, height]).all()
        assert golden.rle is not None and any(mask_of_rle(code, golden.image_size).any() for code in golden.rle)
