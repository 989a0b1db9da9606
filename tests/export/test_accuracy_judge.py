"""The judge says what pycocotools says, and what can be reckoned by hand."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers.scenes import SIZE, block, box_of, found_of, random_scene, truth_of
from lineside.export.accuracy.found import Found
from lineside.export.accuracy.judge import Judged, judge, size_ranges
from lineside.export.accuracy.precision import average_precision
from lineside.export.accuracy.scores import redrawn, score
from lineside.export.accuracy.truth import Truth
from lineside.runtime.errors import MissingPackage
from lineside.runtime.masks import Mask

LIMITS = (8.0, 16.0)


def oracle(
    truth: Truth, found: Sequence[Found], kind: str, folder: Path, order: Sequence[int] | None = None
) -> np.ndarray:
    """Precision as pycocotools gives it through its usual doors: two JSON files; pictures in any order, and repeated."""
    order = range(len(found)) if order is None else order
    images, annotations, results = [], [], []
    for image_id, picture in enumerate(order):
        height, width = truth.image_sizes[picture]
        images.append({"id": image_id, "height": height, "width": width})
        for i in np.flatnonzero(truth.pictures == picture):
            x1, y1, x2, y2 = truth.boxes[i]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image_id, "category_id": int(truth.kinds[i]), "iscrowd": 0,
                    "bbox": [x1, y1, x2 - x1, y2 - y1], "area": float(truth.areas[i]), "segmentation": truth.masks[i],
                }
            )  # fmt: skip
        seen = found[picture]
        for i in range(len(seen.scores)):
            entry = {"image_id": image_id, "category_id": int(seen.classes[i]), "score": float(seen.scores[i])}
            x1, y1, x2, y2 = map(float, seen.boxes[i])
            results.append(
                entry | ({"bbox": [x1, y1, x2 - x1, y2 - y1]} if kind == "box" else {"segmentation": seen.masks[i]})
            )
    categories = [{"id": i, "name": str(i)} for i in range(truth.classes)]
    file = folder / "truth.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(file))
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox" if kind == "box" else "segm")
        evaluation.params.maxDets = [300]
        evaluation.params.areaRng = [[low**2, high**2] for low, high in size_ranges(LIMITS)]
        evaluation.params.areaRngLbl = ["all", "small", "medium", "large"]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[..., 0]


def judged(truth: Truth, found: Sequence[Found], kind: str = "mask", **options: object) -> Judged:
    return judge(truth, found, kind, range(truth.classes), **{"limits": LIMITS, **options})


def mean(precision: np.ndarray) -> float:
    return float(precision[precision > -1].mean())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oracle")


class TestRandomScenes:
    @settings(max_examples=40)
    @given(seed=st.integers(0, 2**31), pictures=st.integers(1, 6), classes=st.integers(1, 3))
    @pytest.mark.parametrize("kind", ["box", "mask"])
    def test_the_figures_are_those_of_pycocotools(
        self, folder: Path, kind: str, seed: int, pictures: int, classes: int
    ) -> None:
        truth, found = random_scene(seed, pictures, classes)
        if not len(truth) or not sum(len(seen.scores) for seen in found):
            return
        want, have = oracle(truth, found, kind, folder), judged(truth, found, kind)
        assert np.array_equal(have.precision, want)
        assert have.ap() == pytest.approx(mean(want[:, :, :, 0]), abs=1e-12)
        assert have.ap(0) == pytest.approx(mean(want[0, :, :, 0]), abs=1e-12)
        for size in (1, 2, 3):
            values = want[:, :, :, size]
            if (values > -1).any():
                assert have.ap(size=size) == pytest.approx(mean(values), abs=1e-12)

    @settings(max_examples=40)
    @given(seed=st.integers(0, 2**31), pictures=st.integers(1, 5), classes=st.integers(1, 3))
    @pytest.mark.parametrize("kind", ["box", "mask"])
    def test_counting_matches_again_is_judging_the_redrawn_pictures(
        self, folder: Path, kind: str, seed: int, pictures: int, classes: int
    ) -> None:
        truth, found = random_scene(seed, pictures, classes)
        order = sorted(np.random.default_rng(seed).integers(0, pictures, pictures).tolist())
        if not len(truth) or not sum(len(found[i].scores) for i in order):
            return
        draw = np.bincount(order, minlength=pictures)[None]
        every = oracle(truth, found, kind, folder, order)
        for size, curves in enumerate(judged(truth, found, kind).curves_by_size):
            for index, curve in enumerate(curves):
                (have,) = average_precision(curve, draw)
                if (every[:, :, index, size] > -1).any():
                    assert have == pytest.approx(every[:, :, index, size].mean(axis=1), abs=1e-12)
                else:
                    assert np.isnan(have).all()
        want = every[:, :, :, 0]
        scores = score(truth, found, kind, range(classes), [str(i) for i in range(classes)], LIMITS)
        if (want > -1).any():
            values = redrawn(scores, draw)
            assert values["mAP50-95"][0] == pytest.approx(mean(want), abs=1e-12)
            assert values["mAP50"][0] == pytest.approx(mean(want[0]), abs=1e-12)

    def test_many_draws_at_a_time_are_the_same_as_one_by_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        truth, found = random_scene(3, 6, 1)
        (curve,) = judged(truth, found).curves
        draws = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=50)
        together = average_precision(curve, draws)
        assert np.array_equal(together, np.concatenate([average_precision(curve, draw[None]) for draw in draws]), True)
        monkeypatch.setattr("lineside.export.accuracy.precision.CELLS", 100)
        assert np.array_equal(together, average_precision(curve, draws), True)


class TestByHand:
    def test_everything_found_in_its_place(self) -> None:
        tables = [[(0, block(2, 2, 20, 20)), (1, block(30, 10, 10, 10))], [], [(1, block(5, 5, 6, 30))]]
        found = [found_of([(kind, 0.9 - 0.1 * i, table) for i, (kind, table) in enumerate(p)]) for p in tables]
        truth = truth_of(tables, 2)
        for kind in ("box", "mask"):
            assert judged(truth, found, kind).ap() == pytest.approx(1.0)
        scores = score(truth, found, "mask", [0, 1], ["a", "b"], LIMITS)
        assert scores.figures.found == 3
        assert scores.figures.boundary_f == {"1": 1.0, "2": 1.0}
        assert list(scores.figures.classes) == ["a", "b"]
        assert np.allclose(list(scores.figures.classes.values()), 1.0)

    def test_another_class_is_not_the_object(self) -> None:
        tables = [[(0, block(2, 2, 20, 20))], [(1, block(9, 9, 20, 20))]]
        found = [found_of([(1, 0.9, tables[0][0][1])]), found_of([(1, 0.8, tables[1][0][1])])]
        result = judged(truth_of(tables, 2), found)
        assert result.ap(kind=0) == 0.0
        assert result.ap(kind=1) == pytest.approx(0.5)  # what was wrong has the better score
        assert result.ap() == pytest.approx(0.25)

    def test_half_of_the_objects(self) -> None:
        tables = [[(0, block(2, 2, 20, 20)), (0, block(30, 10, 10, 10))]]
        result = judged(truth_of(tables), [found_of([(0, 0.9, tables[0][0][1])])])
        assert result.ap() == pytest.approx(51 / 101)  # recalls 0, 0.01 … 0.50

    def test_nothing_found_and_nothing_there(self) -> None:
        empty = found_of([])
        assert judged(truth_of([[(0, block(2, 2, 9, 9))]]), [empty]).ap() == 0.0
        assert np.isnan(judged(truth_of([[]]), [empty]).ap())
        assert np.isnan(judged(truth_of([[]]), [found_of([(0, 0.5, block(1, 1, 5, 5))])]).ap())

    def test_a_false_alarm_in_an_empty_picture_counts(self) -> None:
        tables = [[(0, block(2, 2, 9, 9))], []]
        hit, alarm = found_of([(0, 0.5, tables[0][0][1])]), found_of([(0, 0.9, block(1, 1, 5, 5))])
        assert judged(truth_of(tables), [hit, found_of([])]).ap() == pytest.approx(1.0)
        assert judged(truth_of(tables), [hit, alarm]).ap() == pytest.approx(0.5)

    def test_sizes_are_judged_apart(self) -> None:
        small, medium = block(2, 2, 6, 6), block(20, 10, 12, 12)
        result = judged(truth_of([[(0, small), (0, medium)]]), [found_of([(0, 0.9, small)])])
        assert (result.ap(size=1), result.ap(size=2)) == pytest.approx((1.0, 0.0))
        assert np.isnan(result.ap(size=3))

    def test_iou_of_masks_and_of_boxes(self) -> None:
        truth, half = block(10, 10, 20, 20), block(10, 10, 20, 20)
        half[10:18] = False  # 12 of 20 rows are left: IoU 0.6
        found = [found_of([(0, 0.9, half)])]
        found = [Found(np.array([box_of(truth)], np.float32), *(getattr(found[0], n) for n in ("scores", "classes", "masks", "image_size")))]  # fmt: skip
        assert judged(truth_of([[(0, truth)]]), found, "box").ap() == pytest.approx(1.0)
        assert judged(truth_of([[(0, truth)]]), found, "mask").ap() == pytest.approx(0.3)  # 0.5, 0.55 and 0.6

    def test_an_empty_mask_is_none_and_its_box_is_one(self) -> None:
        table = block(2, 2, 9, 9)
        found = [found_of([(0, 0.9, np.zeros(SIZE, bool)), (0, 0.5, table)])]
        assert judged(truth_of([[(0, table)]]), found, "mask").ap() == pytest.approx(1.0)
        assert judged(truth_of([[(0, table)]]), found, "box").ap() == pytest.approx(0.5)

    def test_an_object_without_a_pixel_counts_as_a_box_only(self) -> None:
        table = block(2, 2, 9, 9)
        truth = truth_of([[(0, table), (0, np.zeros(SIZE, bool))]])
        assert truth.unseen == 1
        found = [found_of([(0, 0.9, table)])]
        assert judged(truth, found, "mask").ap() == pytest.approx(1.0)
        assert judged(truth, found, "box").ap() == pytest.approx(51 / 101)

    def test_classes_of_the_model_have_other_numbers(self) -> None:
        tables = [[(0, block(2, 2, 20, 20))], [(1, block(9, 9, 20, 20))]]
        found = [
            found_of([(2, 0.9, tables[0][0][1]), (1, 0.95, tables[0][0][1])]),
            found_of([(0, 0.8, tables[1][0][1])]),
        ]
        assert judge(truth_of(tables, 2), found, "mask", [1, None, 0]).ap() == pytest.approx(1.0)


def test_run_lengths_of_both_sides_mean_the_same_pixels() -> None:
    from pycocotools import mask as tools

    table = np.random.default_rng(1).random(SIZE) > 0.5
    assert np.array_equal(tools.decode(Mask.from_array(table).rle()).astype(bool), table)


def test_without_pycocotools_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.cocoeval", None)
    with pytest.raises(MissingPackage, match="pip install pycocotools"):
        judged(truth_of([[]]), [found_of([])])
