"""Decoding: candidates, scores, classes and boxes of all three heads, beside the numpy oracle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.runtime.contract import HeadContract
from lineside.runtime.errors import BadOption, ContractMismatch, LinesideError, NonFiniteOutput
from lineside.runtime.geometry import Letterbox
from lineside.runtime.postprocess import Postprocessor, decode
from oracle import decode as oracle
from oracle.heads import one_box, outputs_of

KINDS = ("levels", "flat", "end2end")
SIDES = st.sampled_from([32, 64, 96, 160])
EVERYTHING: dict[str, Any] = {"iou": 1.0, "max_det": 10**6}


def head_of(kind: Any, **changes: Any) -> HeadContract:
    return HeadContract(**{"kind": kind, "classes": 3, "coefficients": 4, "input_size": (64, 96), **changes})


@st.composite
def heads(draw: st.DrawFn) -> HeadContract:
    return HeadContract(
        kind=draw(st.sampled_from(KINDS)),
        classes=draw(st.sampled_from([1, 2, 3, 80, 1203])),
        coefficients=draw(st.sampled_from([0, 1, 32, 256])),
        input_size=(draw(SIDES), draw(SIDES)),
        strides=draw(st.sampled_from([(8, 16, 32), (16,), (4, 8, 16, 32)])),
        reg_max=draw(st.sampled_from([1, 5, 16])),
    )


def agree(found: Any, wanted: oracle.Rows, image_size: tuple[int, int], head: HeadContract) -> None:
    assert found.anchors.tolist() == wanted.anchors.tolist()
    assert found.classes.tolist() == wanted.classes.tolist()
    np.testing.assert_array_equal(found.scores, wanted.scores)
    boxes = oracle.to_picture(wanted.boxes, image_size, head.input_size)
    # The softmax of the level head is float32 here and float64 in the oracle; everything else is the same arithmetic.
    gain = min(Letterbox.fit(image_size, head.input_size).scale_xy)
    atol = 2e-4 / gain if head.kind == "levels" and head.reg_max > 1 else 0
    np.testing.assert_allclose(found.boxes, boxes, rtol=0, atol=atol)


@settings(max_examples=120)
@given(
    heads(),
    st.integers(0, 2**32),
    st.booleans(),
    st.sampled_from([0.0, 1e-6, 0.2, 0.25, 0.5, 0.97]),
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
)
def test_candidates_are_those_of_the_oracle(
    head: HeadContract, seed: int, ties: bool, conf: float, image_size: tuple[int, int]
) -> None:
    outputs = outputs_of(np.random.default_rng(seed), head, ties)
    box = Letterbox.fit(image_size, head.input_size)
    found = decode(outputs, head, box, conf=conf, masks="none", **EVERYTHING)
    rows = oracle.all_anchors(outputs, head)
    agree(found, oracle.in_order(rows[rows.scores > np.float32(conf)]), image_size, head)


@settings(max_examples=40)
@given(heads(), st.integers(0, 2**32), st.booleans(), st.sampled_from([1, 7, 300]))
def test_the_whole_decode_is_that_of_the_oracle(head: HeadContract, seed: int, agnostic: bool, most: int) -> None:
    outputs = outputs_of(np.random.default_rng(seed), head)
    box = Letterbox.fit((717, 1283), head.input_size)
    options: dict[str, Any] = {"conf": 0.3, "iou": 0.45, "max_det": most, "agnostic": agnostic}
    found = decode(outputs, head, box, masks="none", **options)
    agree(found, oracle.detect(outputs, head, **options), (717, 1283), head)


@pytest.mark.parametrize("logit", [-30.0, -5.5, 0.0, 0.3, 7.75, 15.0])
def test_confidence_is_strict_to_the_last_bit(logit: float) -> None:
    head = head_of("levels", classes=2, coefficients=0)
    outputs = [np.full(shape, -80, np.float32) for g in head.grids for shape in ((1, 64, *g), (1, 2, *g))]
    outputs[1][0, 1, 3, 5] = logit
    box = Letterbox.fit((64, 96), (64, 96))
    score = oracle.score_of(np.array([logit], np.float32))[0]
    below = float(np.nextafter(score, np.float32(0)))
    assert len(decode(outputs, head, box, conf=float(score), masks="none")) == 0
    found = decode(outputs, head, box, conf=below, masks="none")
    assert (found.scores.tolist(), found.classes.tolist(), found.anchors.tolist()) == ([score], [1], [3 * 12 + 5])


def test_classes_that_share_a_score_give_the_lowest() -> None:
    head = head_of("levels", classes=4, coefficients=0)
    outputs = [np.full(shape, -80, np.float32) for g in head.grids for shape in ((1, 64, *g), (1, 4, *g))]
    outputs[1][0, :, 0, 0] = [16.0, 20.0, 30.0, 90.0]  # the last three all have float32 score 1
    assert decode(outputs, head, Letterbox.fit((64, 96), (64, 96)), masks="none").classes.tolist() == [1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, 7, -1])
def test_a_score_that_is_not_finite_is_refused_wherever_it_is(kind: str, value: float, where: int) -> None:
    head = head_of(kind)
    outputs = outputs_of(np.random.default_rng(0), head)
    tensor, index = {"levels": (4, np.s_[0, -1]), "flat": (0, np.s_[0, 5]), "end2end": (0, np.s_[0, :, 4])}[kind]
    outputs[tensor][index].flat[where] = value
    with pytest.raises(NonFiniteOutput, match="scores"):
        decode(outputs, head, Letterbox.fit((64, 96), (64, 96)))


@pytest.mark.parametrize("kind", KINDS)
def test_minus_infinity_is_a_score_below_every_threshold(kind: str) -> None:
    head = head_of(kind)
    box = Letterbox.fit((64, 96), (64, 96))
    outputs = outputs_of(np.random.default_rng(0), head)
    tensors, index = {
        "levels": ([1, 4, 7], np.s_[0]),
        "flat": ([0], np.s_[0, 4 : 4 + head.classes]),
        "end2end": ([0], np.s_[0, :, 4]),
    }[kind]
    assert len(decode(outputs, head, box, conf=0)) > 0
    for tensor in tensors:
        outputs[tensor][index] = -np.inf
    assert len(decode(outputs, head, box, conf=0)) == 0


def test_an_end_to_end_head_may_have_no_rows() -> None:
    head = HeadContract(kind="end2end", classes=2, coefficients=0, input_size=(64, 96))
    found = decode([np.zeros((1, 0, 6), np.float32)], head, Letterbox.fit((64, 96), (64, 96)))
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("row", range(4))
def test_a_box_that_is_not_finite_is_refused_in_a_candidate_only(row: int, value: float) -> None:
    head, table = one_box((10, 10, 50, 40), np.ones(2, np.float32), (64, 96))
    protos = np.ones((1, 2, 16, 24), np.float32)
    box = Letterbox.fit((64, 96), (64, 96))
    table[0, row, 30] = value
    assert len(decode([table, protos], head, box)) == 1
    table[0, 4, 30] = 0.3
    with pytest.raises(NonFiniteOutput, match="anchor 30"):
        decode([table, protos], head, box, max_det=1)


def test_bins_that_are_not_finite_are_refused() -> None:
    head = head_of("levels", coefficients=0)
    outputs = outputs_of(np.random.default_rng(0), head)
    outputs[0][0, 17, 2, 3] = np.inf
    outputs[1][0, 0, 2, 3] = 5
    with pytest.raises(NonFiniteOutput, match=f"anchor {2 * 12 + 3}"):
        decode(outputs, head, Letterbox.fit((64, 96), (64, 96)))


@pytest.mark.parametrize("masks", ["native", "proto"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_mask_that_is_not_finite_is_refused(masks: str, value: float) -> None:
    head, table = one_box((10, 10, 50, 40), np.array([1, value], np.float32), (64, 96))
    protos = np.ones((1, 2, 16, 24), np.float32)
    box = Letterbox.fit((64, 96), (64, 96))
    assert len(decode([table, protos], head, box, masks="none")) == 1
    with pytest.raises(NonFiniteOutput, match="mask"):
        decode([table, protos], head, box, masks=masks)


@settings(max_examples=60)
@given(st.tuples(st.integers(1, 6000), st.integers(1, 6000)), st.tuples(SIDES, SIDES), st.integers(0, 2**32))
def test_boxes_go_back_to_the_picture_by_each_axis(image: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    head = HeadContract(kind="end2end", classes=1, coefficients=0, input_size=size)
    outputs = outputs_of(np.random.default_rng(seed), head)
    box = Letterbox.fit(image, size)
    found = decode(outputs, head, box, conf=0.0, **EVERYTHING)
    unclipped = box.to_image(outputs[0][0, found.anchors, :4])
    np.testing.assert_array_equal(found.boxes, np.clip(unclipped, 0, np.array([*image[::-1]] * 2, np.float32)))
    assert found.boxes.dtype == np.float32 and found.image_size == image


def test_a_class_outside_the_contract_is_refused() -> None:
    head = head_of("end2end", coefficients=0)
    outputs = outputs_of(np.random.default_rng(0), head)
    outputs[0][0, 2, 4:6] = 0.9, 3
    with pytest.raises(ContractMismatch, match="row 2"):
        decode(outputs, head, Letterbox.fit((64, 96), (64, 96)))


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_that_do_not_fit_the_contract_are_refused(kind: str) -> None:
    head = head_of(kind)
    outputs = outputs_of(np.random.default_rng(0), head)
    box = Letterbox.fit((64, 96), (64, 96))
    wrong = {
        "one missing": outputs[:-1],
        "one more": [*outputs, outputs[-1]],
        "batch of two": [np.repeat(outputs[0], 2, 0), *outputs[1:]],
        "a channel less": [outputs[0][:, :-1] if kind != "end2end" else outputs[0][..., :-1], *outputs[1:]],
        "small protos": [*outputs[:-1], outputs[-1][..., :-1]],
        "integers": [outputs[0].astype(np.int32), *outputs[1:]],
        "no batch axis": [outputs[0][0], *outputs[1:]],
    }
    for what, bad in wrong.items():
        with pytest.raises(ContractMismatch, match=r"output"):
            decode(bad, head, box)
            pytest.fail(what)


@pytest.mark.parametrize(
    "options",
    [
        {"conf": -0.1}, {"conf": 1.0}, {"conf": float("nan")}, {"conf": "high"}, {"iou": 1.1}, {"iou": -1e-9},
        {"iou": float("nan")}, {"max_det": 0}, {"max_det": 2.5}, {"max_det": True}, {"masks": "full"}, {"masks": 1}, {"masks": ["native"]},
        {"names": ["only one"]},
    ],
)  # fmt: skip
def test_options_outside_their_range_are_refused(options: dict[str, Any]) -> None:
    head = head_of("flat")
    outputs = outputs_of(np.random.default_rng(0), head)
    with pytest.raises(BadOption) as caught:
        decode(outputs, head, Letterbox.fit((64, 96), (64, 96)), **options)
    assert isinstance(caught.value, LinesideError)


@pytest.mark.parametrize("wrong", [{"kind": "Flat"}, {"input_size": (64, 96, 3)}, {"strides": ()}, {"classes": 0}])
def test_a_head_contract_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadOption, match="head contract"):
        head_of(**{"kind": "flat", **wrong})


def test_a_head_contract_may_be_written_with_lists() -> None:
    head = head_of("levels", input_size=[64, 96], strides=[8, 16, 32])
    assert head == head_of("levels") and hash(head) == hash(head_of("levels"))
    found = decode(outputs_of(np.random.default_rng(0), head), head, Letterbox.fit((64, 96), (64, 96)), conf=0.0)
    assert len(found) > 0


def test_a_letterbox_for_another_input_is_refused() -> None:
    head = head_of("flat")
    with pytest.raises(BadOption, match="input"):
        decode(outputs_of(np.random.default_rng(0), head), head, Letterbox.fit((64, 96), (96, 64)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_masks_has_none_whatever_is_asked(kind: str) -> None:
    head = head_of(kind, coefficients=0)
    outputs = outputs_of(np.random.default_rng(0), head)
    box = Letterbox.fit((64, 96), (64, 96))
    for masks in ("native", "proto", "none"):
        found = decode(outputs, head, box, masks=masks)
        assert len(found) and found.masks is None


@pytest.mark.parametrize("kind", KINDS)
def test_any_float_any_order_and_read_only_memory_will_do(kind: str) -> None:
    head = head_of(kind)
    outputs = [o.astype(np.float16).astype(np.float32) for o in outputs_of(np.random.default_rng(1), head)]
    box = Letterbox.fit((100, 90), (64, 96))
    before = [o.copy() for o in outputs]
    for o in outputs:
        o.setflags(write=False)
    wanted = decode(outputs, head, box)
    forms = (
        [o.astype(np.float64) for o in outputs],
        [o.astype(np.float16) for o in outputs],
        [np.asfortranarray(o) for o in outputs],
    )
    for form in forms:
        found = decode(form, head, box)
        np.testing.assert_array_equal(found.boxes, wanted.boxes)
        assert [m.rle() for m in found.masks or []] == [m.rle() for m in wanted.masks or []]
    assert all(np.array_equal(a, b) for a, b in zip(before, outputs, strict=True))


def test_names_are_indices_until_they_are_given() -> None:
    head = head_of("flat")
    outputs = outputs_of(np.random.default_rng(0), head)
    box = Letterbox.fit((64, 96), (64, 96))
    assert decode(outputs, head, box).names == ("0", "1", "2")
    assert decode(outputs, head, box, names=["a", "b", "c"]).names == ("a", "b", "c")


@pytest.mark.parametrize("kind", KINDS)
def test_scratch_does_not_leak_from_frame_to_frame_or_thread_to_thread(kind: str) -> None:
    head = head_of(kind, coefficients=8)
    frames = [
        (outputs_of(np.random.default_rng(i), head), Letterbox.fit(size, head.input_size), mode)
        for i, (size, mode) in enumerate(
            [
                ((500, 700), "native"),
                ((3, 5), "native"),
                ((500, 700), "proto"),
                ((500, 700), "none"),
                ((64, 96), "native"),
            ]
            * 4
        )
    ]
    post = Postprocessor(head)

    def told(answer: Any) -> Any:
        return answer.boxes.tolist(), answer.anchors.tolist(), answer.to_dict()

    def run(frame: Any) -> Any:
        return told(post.run(frame[0], frame[1], masks=frame[2], conf=0.05))

    wanted = [told(Postprocessor(head).run(o, b, masks=m, conf=0.05)) for o, b, m in frames]
    assert [run(frame) for frame in frames] == wanted
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, frames)) == wanted
