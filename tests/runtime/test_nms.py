"""Non-maximum suppression, through decode: overlaps, ties, classes, limits."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lineside.runtime.contract import HeadContract
from lineside.runtime.detections import Detections
from lineside.runtime.geometry import Letterbox
from lineside.runtime.postprocess import decode
from oracle import decode as oracle

INPUT = (96, 96)
BOX = Letterbox.fit(INPUT, INPUT)


def run(boxes: Any, scores: Any, classes: Any, **options: Any) -> tuple[Detections, oracle.Rows]:
    """Ours and the oracle's answer for planted xyxy boxes; anchor i holds box i."""
    count = max(classes, default=0) + 1
    head = HeadContract(kind="flat", classes=count, coefficients=0, input_size=INPUT)
    table = np.zeros((1, 4 + count, head.anchors), np.float32)
    for i, ((x1, y1, x2, y2), score, kind) in enumerate(zip(boxes, scores, classes, strict=True)):
        table[0, :4, i] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        table[0, 4 + kind, i] = score
    options = {"conf": 0.25, "iou": 0.5, "max_det": 300, "agnostic": False} | options
    return decode([table], head, BOX, masks="none", **options), oracle.detect([table], head, **options)


def kept(boxes: Any, scores: Any, classes: Any = None, **options: Any) -> list[int]:
    found, wanted = run(boxes, scores, [0] * len(scores) if classes is None else classes, **options)
    assert found.anchors.tolist() == wanted.anchors.tolist()
    return [int(anchor) for anchor in found.anchors]


@settings(max_examples=150)
@given(
    st.integers(0, 2**32),
    st.integers(0, 100),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.6, 0.7, 1.0]),
    st.booleans(),
    st.sampled_from([1, 5, 1000]),
)
def test_equal_to_the_oracle_with_many_ties(
    seed: int, count: int, classes: int, iou: float, agnostic: bool, most: int
) -> None:
    rng = np.random.default_rng(seed)
    corner, size = rng.integers(-5, 12, (count, 2)), rng.integers(0, 7, (count, 2))
    boxes = np.hstack([corner, corner + size])
    scores, kinds = rng.integers(1, 9, count) / 8, rng.integers(0, classes, count)
    found, wanted = run(boxes, scores, kinds, iou=iou, agnostic=agnostic, max_det=most)
    assert found.anchors.tolist() == wanted.anchors.tolist()
    assert found.classes.tolist() == wanted.classes.tolist()
    np.testing.assert_array_equal(found.scores, wanted.scores)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.floats(0, 1, width=32))
@example(seed=0, iou=0.7)
def test_equal_to_the_oracle_on_crowds(seed: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    middle = np.repeat(rng.uniform(0, 96, (20, 2)), 6, 0) + rng.normal(0, 1, (120, 2))
    half = rng.uniform(5, 20, (120, 2))
    found, wanted = run(np.hstack([middle - half, middle + half]), rng.uniform(0.3, 1, 120), [0] * 120, iou=iou)
    assert found.anchors.tolist() == wanted.anchors.tolist()


def test_an_overlap_equal_to_the_threshold_is_kept() -> None:
    boxes = [(0, 0, 3, 1), (1, 0, 4, 1)]  # IoU = 2 / 4
    assert kept(boxes, [0.9, 0.8], iou=0.5) == [0, 1]
    assert kept(boxes, [0.9, 0.8], iou=0.4999) == [0]


def test_equal_scores_go_by_the_lower_anchor() -> None:
    same = [(0, 0, 10, 10)] * 3
    assert kept(same, [0.5, 0.5, 0.5]) == [0]
    assert kept(same, [0.5, 0.5, 0.5], iou=1.0) == [0, 1, 2]
    assert kept([(0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9)], [0.5, 0.7, 0.5], max_det=2) == [1, 0]


def test_what_is_suppressed_does_not_suppress() -> None:
    chain = [(0, 0, 10, 10), (4, 0, 14, 10), (8, 0, 18, 10)]
    assert kept(chain, [0.9, 0.8, 0.7], iou=0.4) == [0, 2]


def test_classes_keep_apart_unless_told_otherwise() -> None:
    same = [(0, 0, 10, 10)] * 2
    assert kept(same, [0.9, 0.8], [0, 1]) == [0, 1]
    assert kept(same, [0.9, 0.8], [0, 1], agnostic=True) == [0]


def test_boxes_overlap_before_they_are_clipped() -> None:
    # Both fill the picture once clipped; as the model saw them they share little.
    boxes = [(-400, 0, 96, 96), (0, 0, 500, 96)]
    assert kept(boxes, [0.9, 0.8], iou=0.5) == [0, 1]


def test_boxes_without_area_are_kept() -> None:
    assert kept([(5, 5, 5, 9), (5, 5, 5, 9), (0, 0, 20, 20)], [0.9, 0.8, 0.7], iou=0.0) == [0, 1, 2]


def test_thousands_of_anchors_on_one_object_leave_one() -> None:
    head = HeadContract(kind="flat", classes=1, coefficients=0, input_size=(640, 640))
    table = np.zeros((1, 5, head.anchors), np.float32)
    table[0, :4] = np.array([[320], [320], [100], [60]])
    table[0, 4] = np.linspace(0.3, 0.9, head.anchors)
    found = decode([table], head, Letterbox.fit((640, 640), (640, 640)), masks="none")
    assert found.anchors.tolist() == [head.anchors - 1]


def test_an_end_to_end_head_is_not_suppressed() -> None:
    head = HeadContract(kind="end2end", classes=1, coefficients=0, input_size=INPUT)
    table = np.zeros((1, 5, 6), np.float32)
    table[0, :, :5] = [[0, 0, 9, 9, s] for s in (0.3, 0.9, 0.2, 0.9, 0.25)]
    found = decode([table], head, BOX, iou=0.1, masks="none")
    assert found.anchors.tolist() == [1, 3, 0]
    assert decode([table], head, BOX, iou=0.1, max_det=1, masks="none").anchors.tolist() == [1]
