"""Masks: spans equal to the rule evaluated at every pixel, at any picture size, and never a table of them all."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lineside.runtime.contract import HeadContract
from lineside.runtime.errors import BadOption
from lineside.runtime.geometry import Letterbox
from lineside.runtime.masks import Mask, Masks
from lineside.runtime.postprocess import decode
from oracle import decode as oracle
from oracle.heads import one_box, outputs_of, prototypes
from oracle.masks import mask_of

MEGAPIXELS = 20_000_000
SIDES = st.sampled_from([32, 64, 160, 320])


def spans_are_in_order(spans: npt.NDArray[np.int32], image_size: tuple[int, int]) -> None:
    y, x0, x1 = spans.T.astype(int)
    assert (x0 < x1).all() and (x0 >= 0).all() and (x1 <= image_size[1]).all()
    assert (y >= 0).all() and (y < image_size[0]).all()
    apart = (np.diff(y) > 0) | ((np.diff(y) == 0) & (x0[1:] > x1[:-1]))
    assert apart.all()


def same_as_oracle(mask: Mask, wanted: tuple[int, int, Any]) -> None:
    """Compares inside the oracle's box, and that nothing lies outside of it."""
    spans_are_in_order(mask.spans, mask.image_size)
    x0, y0, table = wanted
    left, top, crop = mask.crop()
    again = np.zeros(table.shape, bool)
    assert crop.size == 0 or (left >= x0 and top >= y0)
    again[top - y0 : top - y0 + crop.shape[0], left - x0 : left - x0 + crop.shape[1]] = crop
    assert mask.area == crop.sum() == table.sum()
    np.testing.assert_array_equal(again, table)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[int, int]:
    """Sizes from one pixel to 20 megapixels, small and odd ones as likely as large ones."""
    high, wide = (int(2 ** draw(st.floats(0, 13))) for _ in range(2))
    assume(high * wide <= MEGAPIXELS)
    return high, wide


@settings(max_examples=200)
@given(
    pictures(),
    st.tuples(SIDES, SIDES),
    st.sampled_from([1, 2, 32, 256]),
    st.sampled_from(["smooth", "noise", "whole"]),
    st.sampled_from(["native", "proto"]),
    st.integers(0, 2**32),
    st.tuples(*[st.floats(-0.2, 1.2)] * 4),
    st.sampled_from([0.01, 0.1, 1.0]),
)
def test_spans_equal_the_rule_at_every_pixel(
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    count: int,
    planes: str,
    mode: str,
    seed: int,
    place: tuple[float, float, float, float],
    reach: float,
) -> None:
    rng = np.random.default_rng(seed)
    h, w = input_size
    x, y = place[0] * w, place[1] * h
    # The oracle's table stays below two megapixels; the picture itself may be larger.
    reach *= min(1.0, (2e6 / (image_size[0] * image_size[1])) ** 0.5)
    box = (x, y, x + place[2] * w * reach, y + place[3] * h * reach)
    coefficients = rng.integers(-1, 2, count) if planes == "whole" else rng.standard_normal(count)
    head, table = one_box(box, coefficients.astype(np.float32), input_size)
    outputs = [table, prototypes(rng, head, planes)]
    found = decode(outputs, head, Letterbox.fit(image_size, input_size), masks=mode)
    assert len(found) == 1 and found.masks is not None
    wanted = mask_of(outputs[1][0], table[0, 5:, 0], found.boxes[0], image_size, input_size, mode)
    same_as_oracle(found.masks[0], wanted)


@settings(max_examples=30)
@given(
    st.sampled_from(["levels", "flat", "end2end"]),
    st.integers(0, 2**32),
    st.sampled_from(["native", "proto"]),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
def test_every_detection_gets_its_own_mask(kind: Any, seed: int, mode: str, image_size: tuple[int, int]) -> None:
    head = HeadContract(kind=kind, classes=5, coefficients=7, input_size=(96, 64))
    outputs = outputs_of(np.random.default_rng(seed), head)
    found = decode(outputs, head, Letterbox.fit(image_size, (96, 64)), conf=0.3, iou=0.6, masks=mode)
    assert found.masks is not None and len(found.masks) == len(found)
    for mask, anchor, box in zip(found.masks, found.anchors, found.boxes, strict=True):
        coefficients = oracle.coefficients_of(outputs, head, int(anchor))
        same_as_oracle(mask, mask_of(outputs[-1][0], coefficients, box, image_size, (96, 64), mode))


@pytest.mark.parametrize("mode", ["native", "proto"])
def test_a_picture_of_twenty_megapixels(mode: str) -> None:
    image_size, input_size = (3648, 5472), (640, 640)
    rng = np.random.default_rng(0)
    head, table = one_box((0, 0, 640, 640), rng.standard_normal(32).astype(np.float32), input_size)
    outputs = [table, prototypes(rng, head)]
    found = decode(outputs, head, Letterbox.fit(image_size, input_size), masks=mode)
    assert found.masks is not None
    wanted = mask_of(outputs[1][0], table[0, 5:, 0], found.boxes[0], image_size, input_size, mode)
    assert wanted[2].shape == image_size and 0.1 < wanted[2].mean() < 0.9
    same_as_oracle(found.masks[0], wanted)


def ramp(axis: int, zero: float) -> tuple[int, Any]:
    size = (717, 1283)
    head, table = one_box((270, 290, 370, 350), np.ones(1, np.float32), (640, 640))
    line = np.arange(160, dtype=np.float32) - np.float32(zero)
    plane = np.broadcast_to(line if axis else line[:, None], (160, 160))
    found = decode([table, np.ascontiguousarray(plane)[None, None]], head, Letterbox.fit(size, (640, 640)))
    assert found.masks is not None
    return found.masks[0].area, found.masks[0].to_array()


def test_a_ramp_crosses_zero_where_arithmetic_says() -> None:
    # Across: u = ((X + 0.5) * 640 / 1283) / 4 - 0.5 > 79.3 from X = 640 on; the box is 542 <= X < 742, 299 <= Y < 419.
    area, table = ramp(1, 79.3)
    assert area == 120 * 102 and table[299:419, 640:742].all()
    # Down: v = ((Y + 0.5) * 358 / 717 + 141) / 4 - 0.5 > 79.3 from Y = 357 on.
    area, table = ramp(0, 79.3)
    assert area == 62 * 200 and table[357:419, 542:742].all()


def test_exactly_zero_does_not_belong_to_the_mask() -> None:
    head, table = one_box((0, 0, 64, 64), np.ones(1, np.float32), (64, 64))
    outputs = [table, np.zeros((1, 1, 16, 16), np.float32)]
    for mode in ("native", "proto"):
        found = decode(outputs, head, Letterbox.fit((64, 64), (64, 64)), masks=mode)
        assert len(found) == 1 and found.masks is not None and found.masks[0].area == 0


def test_the_box_is_half_open_on_pixels() -> None:
    head, table = one_box((10, 20, 13.5, 22), np.ones(1, np.float32), (64, 64))
    outputs = [table, np.ones((1, 1, 16, 16), np.float32)]
    found = decode(outputs, head, Letterbox.fit((64, 64), (64, 64)))
    assert found.masks is not None
    x0, y0, crop = found.masks[0].crop()
    assert (x0, y0, crop.shape) == (10, 20, (2, 4)) and crop.all()


def test_values_stay_inside_the_cells_that_the_content_covers() -> None:
    # Content rows 140 to 500 of 640 are the prototype rows 35 to 124; the padding beside them says the opposite.
    head, table = one_box((0, 0, 640, 640), np.ones(1, np.float32), (640, 640))
    plane = np.full((160, 160), -100, np.float32)
    plane[35:125] = 1
    for mode in ("native", "proto"):
        found = decode([table, plane[None, None]], head, Letterbox.fit((1080, 1920), (640, 640)), masks=mode)
        assert found.masks is not None and found.masks[0].area == 1080 * 1920


def test_only_the_prototype_cells_under_the_box_are_touched() -> None:
    head, table = one_box((100, 200, 140, 240), np.ones(1, np.float32), (640, 640))
    plane = np.full((160, 160), np.nan, np.float32)
    plane[49:61, 24:36] = 1
    found = decode([table, plane[None, None]], head, Letterbox.fit((640, 640), (640, 640)))
    assert found.masks is not None and found.masks[0].area == 40 * 40


def test_three_hundred_masks_of_a_large_picture_need_little_memory() -> None:
    program = """
        import resource
        import numpy as np
        from lineside.runtime.contract import HeadContract
        from lineside.runtime.geometry import Letterbox
        from lineside.runtime.postprocess import decode

        head = HeadContract(kind="flat", classes=1, coefficients=32, input_size=(640, 640))
        rng = np.random.default_rng(0)
        table = np.zeros((1, 37, 8400), np.float32)
        table[0, :2] = rng.uniform(150, 490, (2, 8400))
        table[0, 2:4] = rng.uniform(10, 60, (2, 8400))
        table[0, 4, :2000] = rng.uniform(0.3, 1, 2000)
        table[0, 5:] = rng.standard_normal((32, 8400))
        protos = rng.standard_normal((1, 32, 160, 160)).astype(np.float32)
        box = Letterbox.fit((3648, 5472), (640, 640))
        decode([table, protos], head, box, masks="none")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = decode([table, protos], head, box, iou=1.0)
        assert len(found) == 300 and sum(mask.area for mask in found.masks) > 1e6
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    # Dense they would be 300 x 20 MB; the spans of noise are the most that spans can be.
    assert int(done.stdout) < 100_000, f"{done.stdout} KiB"


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.tuples(st.integers(1, 40), st.integers(1, 40)), st.floats(0, 1))
def test_a_table_becomes_a_mask_and_a_table_again(seed: int, size: tuple[int, int], share: float) -> None:
    rng = np.random.default_rng(seed)
    table, other = rng.random((2, *size)) < share
    mask = Mask.from_array(table)
    spans_are_in_order(mask.spans, size)
    np.testing.assert_array_equal(mask.to_array(), table)
    assert mask.to_array().dtype == np.bool_ and mask.area == table.sum() and mask.image_size == size
    x0, y0, crop = mask.crop()
    assert crop.dtype == np.uint8
    if table.any():
        rows, columns = np.flatnonzero(table.any(1)), np.flatnonzero(table.any(0))
        assert (x0, y0) == (columns[0], rows[0])
        np.testing.assert_array_equal(crop, table[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    else:
        assert (x0, y0, crop.shape) == (0, 0, (0, 0))
    union = (table | other).sum()
    assert mask.intersection(Mask.from_array(other)) == (table & other).sum()
    assert mask.iou(Mask.from_array(other)) == ((table & other).sum() / union if union else 1.0)


def test_masks_are_a_sequence() -> None:
    rng = np.random.default_rng(0)
    tables = rng.random((5, 9, 11)) < np.array([0.5, 0.0, 1.0, 0.1, 0.9])[:, None, None]
    masks = Masks.of([Mask.from_array(t) for t in tables], (9, 11))
    assert len(masks) == 5 and [m.area for m in masks] == tables.sum((1, 2)).tolist()
    np.testing.assert_array_equal(masks[-1].to_array(), tables[4])
    choices: list[Any] = [slice(1, 4), slice(None, None, -1), [3, 0, 3], tables.any((1, 2)), np.array([], int), []]
    for index in choices:
        chosen = masks[index]
        wanted = tables[index if isinstance(index, slice) else np.asarray(index, None if len(index) else int)]
        assert isinstance(chosen, Masks) and len(chosen) == len(wanted)
        assert all(np.array_equal(m.to_array(), t) for m, t in zip(chosen, wanted, strict=True))
    for wrong in (5, -6, [5], [True] * 4):
        with pytest.raises(IndexError):
            masks[wrong]


def test_masks_cannot_be_changed() -> None:
    masks = Masks.of([Mask.from_array(np.ones((3, 3)))], (3, 3))
    for array in (masks.spans, masks.offsets, masks[0].spans):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        masks[0].spans = np.zeros((0, 3), np.int32)  # type: ignore[misc]


@pytest.mark.parametrize(
    "spans",
    [
        [[2, 0, 1], [0, 0, 1]],
        [[0, 3, 1]],
        [[0, 0, 0]],
        [[0, -5, 2]],
        [[-1, 0, 2]],
        [[0, 0, 3], [0, 3, 5]],
        [[0, 4, 6], [0, 1, 2]],
    ],
)
def test_spans_that_are_none_never_reach_memory(spans: list[list[int]]) -> None:
    mask = Mask(np.array(spans, np.int32), (8, 8))
    for call in (mask.to_array, mask.crop, mask.polygons, mask.rle):
        with pytest.raises(ValueError, match="span"):
            call()


def test_masks_of_other_pictures_and_shapes_are_refused() -> None:
    with pytest.raises(BadOption, match="shape"):
        Mask.from_array(np.zeros((2, 3, 4)))
    with pytest.raises(BadOption, match="picture"):
        Masks.of([Mask.from_array(np.ones((3, 3)))], (3, 4))
