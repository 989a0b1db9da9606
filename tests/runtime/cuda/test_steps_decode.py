"""The kernels behind the engine: the same detections, to the bit, as the native core finds in the same outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.frame_steps import Array, Bench, same
from lineside.runtime import decode
from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda.staging import Form
from lineside.runtime.detections import Detections
from lineside.runtime.errors import BadOption
from lineside.runtime.geometry import Letterbox, Size
from oracle import decode as oracle
from oracle.heads import outputs_of

SIDES = st.integers(1, 300)
HEADS = st.builds(
    HeadContract,
    kind=st.sampled_from(["levels", "flat", "end2end"]),
    classes=st.sampled_from([1, 3, 80]),
    coefficients=st.sampled_from([0, 3, 32]),
    input_size=st.sampled_from([(32, 32), (96, 64), (64, 160)]),
    reg_max=st.sampled_from([1, 5, 16]),
    strides=st.sampled_from([(8, 16, 32), (4, 8, 16, 32), (16,)]),
)
OPTIONS = st.fixed_dictionaries(
    {
        "conf": st.one_of(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.999]), st.floats(0, 0.99)),
        "iou": st.sampled_from([0.0, 0.3, 0.7, 1.0]),
        "max_det": st.sampled_from([1, 7, 300, 2**32 + 1]),  # one, for whoever takes the low half
        "masks": st.sampled_from(["native", "proto", "none"]),
        "agnostic": st.booleans(),
    }
)
HEAD = HeadContract(kind="levels", classes=80, coefficients=4, input_size=(160, 160))


def on_processor(outputs: list[Array], head: HeadContract, size: Size, **options: Any) -> Detections:
    return decode(outputs, head, Letterbox.fit(size, head.input_size), **options)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    head=HEADS,
    options=OPTIONS,
    size=st.tuples(SIDES, SIDES),
    ties=st.booleans(),
    planes=st.sampled_from(["smooth", "noise", "whole"]),
    seed=st.integers(0, 2**16),
)
def test_every_head_and_option_gives_the_bits_of_the_processor(
    head: HeadContract, options: dict[str, Any], size: Size, ties: bool, planes: str, seed: int
) -> None:
    outputs = outputs_of(np.random.default_rng(seed), head, ties, planes)
    same(Bench(head, Form("bgr", size), outputs).decode(**options), on_processor(outputs, head, size, **options))


@pytest.mark.parametrize("kind", ["levels", "flat"])
def test_many_candidates_of_few_scores_keep_the_order_of_their_anchors(kind: Any) -> None:
    head = HeadContract(kind=kind, classes=5, coefficients=2, input_size=(256, 256))
    outputs = outputs_of(np.random.default_rng(3), head, ties=True)
    for iou in (1.0, 0.4):
        found = Bench(head, Form("bgr", (300, 200)), outputs).decode(conf=0.0, iou=iou, max_det=10_000, masks="none")
        same(found, on_processor(outputs, head, (300, 200), conf=0.0, iou=iou, max_det=10_000, masks="none"))
        assert len(found) > 200
        ties = found.scores[1:] == found.scores[:-1]
        assert ties.any()
        assert (np.diff(found.anchors)[ties] > 0).all()


def test_suppression_is_the_plain_rule() -> None:
    """Against the oracle, so that the kernels and the native core are not wrong alike."""
    outputs = outputs_of(np.random.default_rng(5), HEAD)
    for agnostic in (False, True):
        rows = oracle.detect(outputs, HEAD, conf=0.3, iou=0.5, max_det=40, agnostic=agnostic)
        found = Bench(HEAD, Form("bgr", (120, 160)), outputs).decode(conf=0.3, iou=0.5, max_det=40, agnostic=agnostic)
        assert len(found) == len(rows) == 40
        np.testing.assert_array_equal(found.anchors, rows.anchors)
        np.testing.assert_array_equal(found.classes, rows.classes)
        np.testing.assert_allclose(found.boxes, oracle.to_picture(rows.boxes, (120, 160), (160, 160)), atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 31, 255, 256, 257, 320])
def test_any_number_of_candidates(count: int) -> None:
    head = HeadContract(kind="flat", classes=2, coefficients=1, input_size=(128, 128))
    outputs = outputs_of(np.random.default_rng(count), head)
    scores = outputs[0][0, 4:6]
    scores[:] = 0
    chosen = np.random.default_rng(count).choice(head.anchors, count, replace=False)
    scores[count % 2, chosen] = 0.5
    bench = Bench(head, Form("grey", (90, 128)), outputs)
    found = bench.decode(iou=1.0, max_det=1000)
    same(found, on_processor(outputs, head, (90, 128), iou=1.0, max_det=1000))
    np.testing.assert_array_equal(found.anchors, np.sort(chosen))


def test_options_change_with_the_parameters_alone() -> None:
    outputs = outputs_of(np.random.default_rng(8), HEAD)
    bench = Bench(HEAD, Form("bgr", (100, 140)), outputs)
    launches = bench.steps.decode(bench.at)
    seen = set()
    for masks in ("native", "none", "proto", "native"):
        for conf, iou, max_det, agnostic in ((0.25, 0.7, 300, False), (0.6, 0.3, 5, True), (0.98, 0.7, 300, False)):
            options = {"conf": conf, "iou": iou, "max_det": max_det, "masks": masks, "agnostic": agnostic}
            found = bench.decode(**options)
            same(found, on_processor(outputs, HEAD, (100, 140), **options))
            seen.add(len(found))
    assert len(seen) > 2
    assert bench.steps.decode(bench.at) == launches


def test_rows_of_an_end_to_end_head_do_not_suppress_each_other() -> None:
    head = HeadContract(kind="end2end", classes=2, coefficients=2, input_size=(64, 64))
    outputs = outputs_of(np.random.default_rng(6), head, ties=True)
    outputs[0][0, :, :4] = (8, 8, 40, 40)
    found = Bench(head, Form("bgr", (64, 64)), outputs).decode(conf=0.3, iou=0.1, max_det=9)
    same(found, on_processor(outputs, head, (64, 64), conf=0.3, iou=0.1, max_det=9))
    assert len(found) == 9


def test_conf_is_a_limit_that_a_score_must_exceed() -> None:
    head = HeadContract(kind="flat", classes=1, coefficients=0, input_size=(32, 32), strides=(16,))
    table = np.zeros((1, 5, 4), np.float32)
    table[0, :4] = [[8, 24, 8, 24], [8, 8, 24, 24], [9] * 4, [9] * 4]
    table[0, 4] = [0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.25, 0.75]
    found = Bench(head, Form("bgr", (32, 32)), [table]).decode(conf=0.5)
    assert found.anchors.tolist() == [3, 1]


def test_a_focus_map_is_passed_over() -> None:
    head = HeadContract(kind="levels", classes=2, coefficients=2, input_size=(64, 64), focus=8)
    outputs = [*outputs_of(np.random.default_rng(1), head), np.full((1, 1, 8, 8), np.nan, np.float32)]
    same(Bench(head, Form("bgr", (64, 64)), outputs).decode(), on_processor(outputs, head, (64, 64)))


def test_options_out_of_range_are_refused() -> None:
    bench = Bench(HEAD, Form("bgr", (64, 64)), outputs_of(np.random.default_rng(1), HEAD))
    for wrong in ({"conf": 1.0}, {"iou": -0.1}, {"max_det": 0}, {"masks": "all"}):
        with pytest.raises(BadOption):
            bench.run(**wrong)
