"""The measures of the gate and its verdicts, on numbers made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lineside.export.parity.anchors import compare_anchors
from lineside.export.parity.budget import FP32
from lineside.export.parity.detect import detect
from lineside.export.parity.letterbox import Placement, place
from lineside.export.parity.masks import iou
from lineside.export.parity.raw import compare_raw, cosine
from lineside.export.parity.reference import Seen
from lineside.export.parity.result import AnchorMeasure, MaskMeasure, PictureReport, RawMeasure
from lineside.export.parity.rule import rule_mask
from lineside.export.parity.verdict import judge
from lineside.runtime.detections import Detections
from lineside.runtime.geometry import Letterbox

RAW = RawMeasure(output="box8", cosine=1.0, max_abs=0.0)
ANCHORS = AnchorMeasure(compared=64, missing=0, added=0, class_differs=0, box_px=0.0, score=0.0, best_score=0.5)
MASKS = MaskMeasure(compared=60, mean_iou=1.0, min_iou=1.0, native_iou=1.0)


def report(name: str = "p", raw=RAW, anchors=ANCHORS, masks=MASKS) -> PictureReport:
    return PictureReport(picture=name, image_size=(8, 8), input_max_abs=0.0, raw=(raw,), anchors=anchors, masks=masks)


def change(thing, **values):
    import msgspec

    return msgspec.structs.replace(thing, **values)


GOOD = [report(str(i)) for i in range(8)]


class TestVerdict:
    def test_all_good(self) -> None:
        assert [v.passed for v in judge(GOOD, FP32)] == [True, True, True]

    @pytest.mark.parametrize(
        ("level", "bad", "says"),
        [
            (0, report("worst", raw=change(RAW, cosine=0.99998)), "output box8 has cosine 0.999980"),
            (0, report("worst", raw=change(RAW, cosine=float("nan"))), "cosine nan"),
            (1, report("worst", anchors=change(ANCHORS, compared=49)), "only 49 anchors"),
            (1, report("worst", anchors=change(ANCHORS, missing=1)), "1 of its best 64 anchors are not"),
            (1, report("worst", anchors=change(ANCHORS, added=2)), "2 of its best 64 anchors are not"),
            (1, report("worst", anchors=change(ANCHORS, class_differs=3)), "3 of 64 anchors have another class"),
            (1, report("worst", anchors=change(ANCHORS, box_px=0.051)), "a box is off by 0.051 px"),
            (1, report("worst", anchors=change(ANCHORS, box_px=float("nan"))), "a box is off by nan px"),
            (1, report("worst", anchors=change(ANCHORS, score=0.0011)), "a score is off by 0.0011"),
            (2, report("worst", masks=change(MASKS, mean_iou=0.9899)), "mean IoU 0.9899"),
            (2, report("worst", masks=change(MASKS, mean_iou=float("nan"))), "mean IoU nan"),
        ],
    )
    def test_one_bad_picture_fails_its_level_alone(self, level: int, bad: PictureReport, says: str) -> None:
        verdicts = judge([*GOOD, bad], FP32)
        assert [v.passed for v in verdicts] == [i != level for i in range(3)]
        assert verdicts[level].worst_picture == "worst" and says in verdicts[level].reason

    def test_on_the_limit_passes(self) -> None:
        edge = report(anchors=change(ANCHORS, box_px=0.05, score=1e-3), raw=change(RAW, cosine=0.999991))
        assert all(v.passed for v in judge([*GOOD, edge], FP32))

    def test_nothing_to_compare_fails(self) -> None:
        assert not any(v.passed for v in judge([], FP32))
        assert not any(v.passed for v in judge(GOOD[:7], FP32))
        empty = [report(masks=change(MASKS, compared=0, mean_iou=0.0)) for _ in range(8)]
        raw, anchors, masks = judge(empty, FP32)
        assert raw.passed and anchors.passed and not masks.passed and "nothing to compare" in masks.reason
        no_anchors = [report(anchors=change(ANCHORS, compared=0)) for _ in range(8)]
        assert not judge(no_anchors, change(FP32, anchors=0))[1].passed

    def test_a_picture_with_nothing_in_it_is_no_fault(self) -> None:
        blank = report(masks=change(MASKS, compared=0, mean_iou=0.0))
        assert all(v.passed for v in judge([*GOOD, blank], FP32))


class TestRaw:
    def test_cosine(self) -> None:
        a = np.array([3.0, 4.0])
        assert cosine(a, a) == pytest.approx(1) and cosine(a, -a) == pytest.approx(-1)
        assert cosine(a, np.array([4.0, -3.0])) == pytest.approx(0)
        assert cosine(a * 0, a * 0) == 1 and cosine(a * 0, a) == 0
        assert np.isnan(cosine(a, np.array([np.nan, 1.0])))

    def test_missing_and_misshapen(self) -> None:
        want = {"a": np.ones((1, 2, 2, 2), np.float32), "b": np.ones((1, 3), np.float32)}
        found = compare_raw({"a": np.ones((1, 2, 2, 1), np.float32)}, want)
        assert [m.cosine for m in found] == [0.0, 0.0]


def seen(scores: np.ndarray, boxes: np.ndarray | None = None, final: bool = False) -> Seen:
    count = len(scores)
    xyxy = torch.tensor(np.tile([1.0, 1, 5, 5], (count, 1)) if boxes is None else boxes, dtype=torch.float64)
    return Seen(
        placement=place((8, 8), (8, 8)), pixels=np.zeros((8, 8, 3), np.uint8), raw={}, input_boxes=xyxy, boxes=xyxy,
        scores=torch.tensor(scores, dtype=torch.float64), coefficients=torch.zeros(count, 1),
        protos=torch.zeros(1, 2, 2), final=final,
    )  # fmt: skip


def found(anchors: list[int], scores: list[float], classes: list[int]) -> Detections:
    count = len(anchors)
    return Detections(
        boxes=np.tile(np.float32([1, 1, 5, 5]), (count, 1)), scores=np.float32(scores), classes=np.int32(classes),
        anchors=np.int32(anchors), masks=None, names=("a", "b"), image_size=(8, 8),
    )  # fmt: skip


class TestAnchors:
    scores = np.array([[0.9, 0.1], [0.5, 0.2], [0.4, 0.399999], [0.3, 0.1], [0.299999, 0.1]])

    def test_agreement(self) -> None:
        m = compare_anchors(found([0, 1, 2], [0.9, 0.5, 0.4], [0, 0, 0]), seen(self.scores), FP32)
        assert (m.compared, m.missing, m.added, m.class_differs, m.box_px) == (3, 0, 0, 0, 0.0)
        assert m.score < 1e-7 and m.best_score == 0.9

    def test_near_ties_may_swap(self) -> None:
        m = compare_anchors(found([0, 1, 2, 4], [0.9, 0.5, 0.4, 0.3], [0, 0, 1, 0]), seen(self.scores), FP32)
        assert (m.missing, m.added, m.class_differs) == (0, 0, 0)

    def test_another_anchor_is_seen(self) -> None:
        m = compare_anchors(found([0, 1, 3], [0.9, 0.5, 0.3], [0, 0, 0]), seen(self.scores), FP32)
        assert (m.missing, m.added) == (0, 1) or (m.missing, m.added) == (1, 1)

    def test_another_class_is_seen(self) -> None:
        m = compare_anchors(found([0, 1], [0.9, 0.5], [0, 1]), seen(self.scores), FP32)
        assert m.class_differs == 1

    def test_nothing_found(self) -> None:
        m = compare_anchors(found([], [], []), seen(self.scores), FP32)
        assert m.compared == 0 and m.box_px == float("inf")


class TestDetect:
    def test_suppression_is_per_class_and_strict(self) -> None:
        boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 3], [0, 0, 4, 4], [5, 5, 8, 8]], np.float64)
        scores = np.array([[0.9, 0], [0.8, 0], [0, 0.7], [0.25, 0]])
        assert detect(seen(scores, boxes), 0.25, 0.7, 10).anchors.tolist() == [0, 2]
        assert detect(seen(scores, boxes), 0.2, 0.75, 10).anchors.tolist() == [0, 1, 2, 3], "IoU 0.75 is not above"
        assert detect(seen(scores, boxes), 0.2, 0.75, 2).anchors.tolist() == [0, 1]
        assert detect(seen(scores, boxes), 0.2, 0.7, 10).margin == pytest.approx(0.05)

    def test_rows_that_are_detections_already_stay(self) -> None:
        scores = np.array([[0.9, 0], [0.8, 0]])
        assert detect(seen(scores, final=True), 0.25, 0.7, 10).anchors.tolist() == [0, 1]


class TestRule:
    @given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([(64, 64), (96, 64), (32, 160)]))
    def test_placement_is_that_of_the_runtime(self, height: int, width: int, size: tuple[int, int]) -> None:
        mine, theirs = place((height, width), size), Letterbox.fit((height, width), size)
        assert (mine.left, mine.top) == theirs.pad and mine.content == theirs.content_size
        assert mine.gain == pytest.approx(theirs.scale_xy)

    def test_a_ramp_is_cut_where_it_crosses_zero(self) -> None:
        at = Placement((16, 16), (16, 16), (16, 16), 0, 0)
        ramp = torch.arange(4.0).expand(1, 4, 4) - 1.5  # 4 pixels a cell: zero between the cells 1 and 2, at x = 8
        mask = rule_mask(torch.ones(1), ramp, torch.tensor([2.0, 3, 14.5, 16]), at)
        assert mask[3:, 8:15].all() and mask.sum() == 13 * 7

    def test_content_alone_is_sampled(self) -> None:
        at = Placement((8, 16), (16, 16), (8, 16), 0, 4)
        rows = torch.tensor([9.0, -1, -1, 9])[None, :, None].expand(1, 4, 4)  # bright in the padding only
        assert not rule_mask(torch.ones(1), rows, torch.tensor([0.0, 0, 16, 8]), at).any()

    def test_iou(self) -> None:
        a, b = np.zeros((2, 2), bool), np.zeros((2, 2), bool)
        assert iou(a, b) is None
        a[0], b[:, 0] = True, True
        assert iou(a, b) == pytest.approx(1 / 3)
