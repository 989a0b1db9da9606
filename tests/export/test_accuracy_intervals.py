"""Paired intervals: nothing where nothing differs, something where something was broken, and as often right as they say."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.scenes import block, found_of, random_scene, truth_of
from lineside.export.accuracy.bootstrap import draw_pictures, percentiles
from lineside.export.accuracy.found import Found
from lineside.export.accuracy.measure import compare, differences
from lineside.export.accuracy.precision import Curve, average_precision
from lineside.export.accuracy.report import Difference
from lineside.export.accuracy.scores import score
from lineside.export.accuracy.truth import Truth
from lineside.export.accuracy.verdict import judge_differences
from lineside.runtime.masks import Mask

PICTURES = 40
FIGURES = [
    "box mAP50", "box mAP50-95", "mask mAP50", "mask mAP50-95", "mask boundary F 1 px", "mask boundary F 2 px",
]  # fmt: skip


@pytest.fixture(scope="module")
def scene() -> tuple[Truth, list[Found]]:
    return random_scene(17, PICTURES, 2, skill=0.9)


def between(truth: Truth, ours: list[Found], theirs: list[Found], draws: int = 400) -> dict[str, Difference]:
    names = [str(i) for i in range(truth.classes)]
    ours_, theirs_ = (compare(truth, found, range(truth.classes), names) for found in (ours, theirs))
    return differences(ours_, theirs_, truth, draws, seed=1)


def worse(seen: Found, shift: int) -> Found:
    """The same detections, their masks and boxes moved to the right."""
    tables = [np.roll(Mask.from_rle(rle).to_array(), shift, 1) for rle in seen.masks or ()]
    return found_of([(int(k), float(s), t) for k, s, t in zip(seen.classes, seen.scores, tables, strict=True)])


def test_a_model_beside_itself(scene: tuple[Truth, list[Found]]) -> None:
    truth, found = scene
    result = between(truth, found, found)
    assert list(result) == FIGURES
    for it in result.values():
        assert (it.value, it.low, it.high) == (0.0, 0.0, 0.0)
    assert judge_differences(result, 0.005, PICTURES, len(truth))[0]


def test_a_planted_fault_is_seen_and_its_size_grows(scene: tuple[Truth, list[Found]]) -> None:
    truth, found = scene
    values = []
    for shift in (0, 1, 2, 4):
        result = between(truth, [worse(seen, shift) for seen in found], [worse(seen, 0) for seen in found])
        values.append([result[name].value for name in ("mask mAP50-95", "box mAP50-95")])
        for name in ("mask mAP50-95", "box mAP50-95"):
            assert result[name].low <= result[name].value <= result[name].high
        if shift >= 2:
            assert result["mask mAP50-95"].high < -0.005
            passed, reason = judge_differences(result, 0.005, PICTURES, len(truth))
            assert not passed
            assert "surely worse" in reason
            assert judge_differences(result, 0.99, PICTURES, len(truth))[0]
        if shift == 4:
            assert result["mask boundary F 1 px"].high < 0
    assert (np.diff(values, axis=0) < 0).all(), values


def test_outlines_are_compared_on_the_objects_that_both_found() -> None:
    good, rough = block(2, 2, 20, 20), block(30, 5, 20, 20)
    truth = truth_of([[(0, good), (0, rough)]] * 12)
    theirs = [found_of([(0, 0.9, good), (0, 0.8, block(33, 5, 20, 20))])] * 12
    ours = [found_of([(0, 0.9, good)])] * 12  # gave up what it outlined badly
    figures = [score(truth, found, "mask", [0], ["a"], (32.0,)).figures.boundary_f["1"] for found in (ours, theirs)]
    assert figures[0] == 1.0 > figures[1]
    result = between(truth, ours, theirs)
    assert result["mask boundary F 1 px"] == Difference(value=0.0, low=0.0, high=0.0)
    assert result["mask mAP50-95"].high < 0


def test_a_better_model_passes(scene: tuple[Truth, list[Found]]) -> None:
    truth, found = scene
    result = between(truth, found, [worse(seen, 4) for seen in found])
    assert result["mask mAP50-95"].low > 0
    assert judge_differences(result, 0.005, PICTURES, len(truth))[0]


def test_intervals_of_equal_models_hold_zero_as_often_as_they_say() -> None:
    """Two detectors that err alike and independently: the true difference is zero."""
    rng = np.random.default_rng(5)
    pictures, trials, inside = 60, 200, 0
    for trial in range(trials):
        areas = []
        draws = draw_pictures(pictures, 200, seed=trial)
        for _ in range(2):
            hit = rng.random(pictures) < 0.7
            alarms = rng.integers(0, pictures, 20)
            where = np.concatenate([np.flatnonzero(hit), alarms])
            scores = np.concatenate([rng.normal(1, 1, hit.sum()), rng.normal(0, 1, 20)])
            order = np.argsort(-scores)
            hits = (np.arange(len(where)) < hit.sum())[order][None]
            curve = Curve(where[order], hits, np.zeros_like(hits), np.ones(pictures, np.int64))
            areas.append(average_precision(curve, draws)[:, 0])
        low, high = percentiles(areas[0] - areas[1])
        inside += low <= 0 <= high
    assert 0.90 <= inside / trials <= 0.99


def test_draws_are_sets_of_as_many_pictures_and_repeat_with_their_seed() -> None:
    draws = draw_pictures(7, 300, seed=3)
    assert (draws.sum(axis=1) == 7).all()
    assert np.array_equal(draws, draw_pictures(7, 300, seed=3))
    assert not np.array_equal(draws, draw_pictures(7, 300, seed=4))
    assert abs(draws.mean() - 1) < 1e-12
    assert abs((draws == 0).mean() - (6 / 7) ** 7) < 0.03


def test_percentiles_leave_out_draws_without_a_value() -> None:
    values = np.append(np.arange(101.0), np.nan)
    assert percentiles(values) == pytest.approx((2.5, 97.5))
    assert np.isnan(percentiles(np.array([np.nan]))).all()


class TestNoVerdict:
    LARGE = {"mask mAP50-95": Difference(value=-0.5, low=-0.6, high=-0.4)}

    def test_too_few_pictures(self) -> None:
        passed, reason = judge_differences(self.LARGE, 0.005, 9, 20)
        assert passed
        assert "too few" in reason
        assert not judge_differences(self.LARGE, 0.005, 10, 20)[0]

    def test_no_object(self) -> None:
        assert judge_differences(self.LARGE, 0.005, 50, 0) == (True, "no verdict: the pictures hold no object")

    def test_nothing_to_compare_with(self) -> None:
        passed, reason = judge_differences({}, 0.005, 50, 50)
        assert passed
        assert "--weights" in reason
