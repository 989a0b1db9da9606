"""Outputs that cannot be trusted: the kernels raise what the native core raises, and then work on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helpers.frame_steps import Array, Bench, same
from lineside.runtime import decode
from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda.results import HEADER
from lineside.runtime.cuda.staging import Form
from lineside.runtime.cuda.steps import FrameSteps, Limits
from lineside.runtime.detections import Detections
from lineside.runtime.errors import BadOption, ContractMismatch, LinesideError, NonFiniteOutput
from lineside.runtime.geometry import Letterbox
from oracle.heads import outputs_of

SIZE = (80, 120)
KINDS = ("levels", "flat", "end2end")


def head_of(kind: Any) -> HeadContract:
    return HeadContract(kind=kind, classes=3, coefficients=4, input_size=(64, 96))


def outcome(found: Any) -> Detections | tuple[type[LinesideError], str]:
    """Detections, or the kind and the begin of the sentence of what was raised."""
    try:
        result: Detections = found()
        return result
    except LinesideError as error:
        return type(error), str(error).partition(":")[0]


def both(outputs: list[Array], head: HeadContract, **options: Any) -> Any:
    """What came of it, the same on both sides."""
    by_kernels = outcome(lambda: Bench(head, Form("bgr", SIZE), outputs).decode(**options))
    wanted = outcome(lambda: decode(outputs, head, Letterbox.fit(SIZE, head.input_size), **options))
    if isinstance(wanted, Detections):
        assert isinstance(by_kernels, Detections), by_kernels
        same(by_kernels, wanted)
    else:
        assert by_kernels == wanted
    return wanted


def scores_of(outputs: list[Array], head: HeadContract) -> Array:
    """Views of the class values, ``(classes or 1, anchors)``: of the last level where there are several."""
    if head.kind == "levels":
        return outputs[7][0].reshape(head.classes, -1)
    return outputs[0][0, 4:7] if head.kind == "flat" else outputs[0][0, :, 4][None]


def boxes_of(outputs: list[Array], head: HeadContract) -> Array:
    """Views of the box values, ``(values, anchors)``."""
    if head.kind == "levels":
        return outputs[6][0].reshape(4 * head.reg_max, -1)
    return outputs[0][0, :4] if head.kind == "flat" else outputs[0][0, :, :4].T


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", ["score", "box"])
def test_one_value_that_is_no_number(kind: str, value: float, what: str) -> None:
    head = head_of(kind)
    raised = 0
    for seed in range(4):
        outputs = outputs_of(np.random.default_rng(seed), head)
        table = scores_of(outputs, head) if what == "score" else boxes_of(outputs, head)
        table[-1, seed] = value
        if what == "box":
            scores_of(outputs, head)[0, seed] = 0.9  # above 0.25, as a probability and as a logit
        raised += not isinstance(both(outputs, head), Detections)
    # Minus infinity is a score like any other, and a logit of a box that counts nothing.
    harmless = value == -np.inf and (what == "score" or kind == "levels")
    assert raised == (0 if harmless else 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_that_is_no_candidate_may_be_anything(kind: str) -> None:
    head = head_of(kind)
    outputs = outputs_of(np.random.default_rng(1), head)
    scores_of(outputs, head)[:, 2] = -9.0
    boxes_of(outputs, head)[:, 2] = np.nan
    assert isinstance(both(outputs, head), Detections)


@pytest.mark.parametrize("masks", ["native", "proto", "none"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_mask_that_is_no_number(masks: str, value: float) -> None:
    head = head_of("levels")
    outputs = outputs_of(np.random.default_rng(2), head)
    outputs[-1][0, 1] = value
    answer = both(outputs, head, masks=masks)
    assert isinstance(answer, Detections) == (masks == "none")


def test_a_prototype_outside_of_every_box_may_be_anything() -> None:
    head = head_of("flat")
    outputs = outputs_of(np.random.default_rng(2), head)
    scores_of(outputs, head)[:] = 0
    scores_of(outputs, head)[1, 5] = 0.9
    outputs[0][0, :4, 5] = (30, 30, 20, 20)
    outputs[1][0, :, :, -1] = np.nan
    assert isinstance(both(outputs, head), Detections)


@pytest.mark.parametrize("cls", [3, -1, -0.5, np.nan, 1e30, 2.5])
def test_a_row_that_names_no_class(cls: float) -> None:
    head = head_of("end2end")
    outputs = outputs_of(np.random.default_rng(3), head)
    outputs[0][0, 7, 4:6] = (0.8, cls)
    answer = both(outputs, head)
    assert isinstance(answer, Detections) == (cls == 2.5)
    if cls == 3:
        with pytest.raises(ContractMismatch, match="row 7 names class 3 of 3"):
            Bench(head, Form("bgr", SIZE), outputs).decode()


@pytest.mark.parametrize("first", ["score", "class"])
def test_of_two_faults_the_first_row_counts(first: str) -> None:
    head = head_of("end2end")
    outputs = outputs_of(np.random.default_rng(3), head)
    score, cls = (4, 9) if first == "score" else (9, 4)
    outputs[0][0, score, 4] = np.nan
    outputs[0][0, cls, 4:6] = (0.9, 8)
    assert both(outputs, head)[0] is (NonFiniteOutput if first == "score" else ContractMismatch)


def test_the_frame_after_a_refused_one_is_read_as_ever() -> None:
    head = head_of("levels")
    outputs = outputs_of(np.random.default_rng(4), head)
    wanted = decode(outputs, head, Letterbox.fit(SIZE, head.input_size))
    bench = Bench(head, Form("bgr", SIZE), outputs)
    for table, at in ((bench.outputs[1], (0, 0, 0, 0)), (bench.outputs[-1], (0, 0))):
        before = table[at].copy()
        table[at] = np.nan
        with pytest.raises(NonFiniteOutput):
            bench.decode()
        if table is bench.outputs[1]:
            assert bench.steps.needed(bench.result) == HEADER.itemsize  # nothing more is made, copied or waited for
        table[at] = before
        same(bench.decode(), wanted)


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(BadOption, match="rows"):
        FrameSteps(head_of("end2end"), Form("bgr", SIZE))
    for wrong in ({"detections": 0}, {"words": -1}, {"first": 8}):
        with pytest.raises(BadOption):
            Limits(**wrong)
