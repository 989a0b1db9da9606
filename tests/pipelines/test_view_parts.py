"""Parts of the operator page that can be checked against a plain model of themselves."""

from __future__ import annotations

import io
from itertools import pairwise

import cv2
import numpy as np
import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lineside.pipelines.view.encoder import outlines
from lineside.pipelines.view.meter import rate
from lineside.pipelines.view.results import ResultLog, Row
from lineside.pipelines.view.workbook import write_workbook
from lineside.runtime.detections import Detections

masks = arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.integers(0, 1))


def fill(lines: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros(size, np.uint8)
    cv2.fillPoly(canvas, [np.reshape(line, (-1, 2)).astype(np.int32) for line in lines], 1)
    return canvas


@given(mask=masks, x=st.integers(0, 50), y=st.integers(0, 50))
def test_outlines_without_tolerance_give_the_mask_back_holes_included(mask, x, y):
    lines = outlines((x, y), mask, 0.0)
    canvas = fill(lines, (y + mask.shape[0], x + mask.shape[1]))
    assert np.array_equal(canvas[y:, x:], mask)
    assert canvas.sum() == mask.sum()


@given(mask=masks)
def test_even_with_tolerance_no_speck_disappears(mask):
    lines = outlines((0, 0), mask, 2.0)
    count, labels = cv2.connectedComponents(mask)
    drawn = fill(lines, mask.shape)
    for label in range(1, count):
        assert drawn[labels == label].any()


def test_the_outline_of_an_empty_mask_is_nothing():
    assert outlines((0, 0), np.zeros((0, 0), np.uint8), 0.5) == []


def found(scores: list[float], names: tuple[str, ...] = ("part",)) -> Detections:
    scores_array = np.array(scores, np.float32)
    count = len(scores)
    boxes = np.arange(4 * count, dtype=np.float32).reshape(-1, 4)
    return Detections(
        boxes, scores_array, np.zeros(count, np.int32), np.zeros(count, np.int32), None, names, (100, 100)
    )


actions = st.lists(st.tuples(st.booleans(), st.lists(st.floats(0, 1, width=32), max_size=6)), max_size=30)


@given(actions=actions, capacity=st.integers(1, 12))
def test_the_result_log_keeps_the_newest_rows_like_a_plain_list(actions, capacity):
    log = ResultLog(capacity)
    truth: list[tuple[int, float]] = []
    gone, last = 0, 0
    for number, (amend, scores) in enumerate(actions):
        if amend:
            del truth[max(0, len(truth) - last) :]
        (log.amend if amend else log.append)(number, "file", 0.0, found(scores))
        last = len(scores)
        truth += [(number, score) for score in scores]
        gone += max(0, len(truth) - capacity)
        truth = truth[-capacity:]
        assert [(row.sequence, row.score) for row in log.rows()] == truth
        assert log.forgotten == gone


def test_the_result_log_grows_beyond_its_first_size():
    log = ResultLog()
    for number in range(40):
        log.append(number, "file", 0.0, found([0.5] * 100))
    assert [row.sequence for row in log.rows()] == [number for number in range(40) for _ in range(100)]


texts = ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x")', "http://example.com", "12", "\t=1", "部件"]


@pytest.mark.parametrize("text", texts)
def test_text_in_the_workbook_is_never_a_formula_a_link_or_a_number(text):
    book = io.BytesIO()
    write_workbook([Row(0, text, 0.0, text, 0.5, (0, 0, 1, 1), None)], {"Source": text}, book)
    read = openpyxl.load_workbook(book)
    cells = [read["Detections"]["B2"], read["Detections"]["D2"], read["Summary"]["B1"]]
    for cell in cells:
        assert (cell.data_type, cell.value, cell.hyperlink, cell.quotePrefix) == ("s", text, None, True)
    assert read["Detections"]["L2"].value is None


moments = st.lists(st.integers(1, 10**9), min_size=1, max_size=50).map(lambda gaps: list(np.cumsum(gaps)))


@given(moments=moments)
def test_the_rate_of_a_run_is_frames_over_time(moments):
    whole = rate(moments, None)
    if len(moments) < 2:
        assert whole is None
    else:
        assert whole == pytest.approx((len(moments) - 1) / ((moments[-1] - moments[0]) / 1e9))


def test_the_rate_falls_during_a_pause_and_then_there_is_none():
    moments = [tick * 10**8 for tick in range(11)]  # ten frames a second until t = 1 s
    rates = [rate(moments, now * 10**8) for now in range(10, 40)]
    assert rates[0] == pytest.approx(10)
    known = [value for value in rates if value is not None]
    assert all(after <= before + 1e-9 for before, after in pairwise(known[:20]))
    assert rate(moments, 45 * 10**8) is None
