"""Where a picture lies in the input, and the way back."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lineside.runtime.errors import BadFrame, BadOption
from lineside.runtime.geometry import Letterbox

Size = tuple[int, int]
sizes = st.tuples(st.integers(1, 65535), st.integers(1, 65535))
inputs = st.tuples(st.integers(1, 2048), st.integers(1, 2048))


@pytest.mark.parametrize(
    ("image_size", "input_size", "content_size", "pad"),
    [
        ((717, 1283), (640, 640), (358, 640), (0, 141)),
        ((1080, 1920), (640, 640), (360, 640), (0, 140)),
        ((1200, 1920), (640, 640), (400, 640), (0, 120)),
        ((2048, 2448), (640, 640), (535, 640), (0, 52)),
        ((1080, 1920), (384, 640), (360, 640), (0, 12)),
        ((100, 50), (640, 640), (640, 320), (160, 0)),
        ((1, 5000), (640, 640), (1, 640), (0, 319)),
        ((5000, 1), (640, 352), (640, 1), (175, 0)),
        ((640, 640), (640, 640), (640, 640), (0, 0)),
    ],
)
def test_known_geometries(image_size: Size, input_size: Size, content_size: Size, pad: Size) -> None:
    box = Letterbox.fit(image_size=image_size, input_size=input_size)
    assert (box.image_size, box.input_size) == (image_size, input_size)
    assert (box.content_size, box.pad) == (content_size, pad)
    assert box.scale == min(input_size[1] / image_size[1], input_size[0] / image_size[0])
    assert box.scale_xy == (content_size[1] / image_size[1], content_size[0] / image_size[0])


@pytest.mark.parametrize(("side", "content"), [(5, 2), (7, 4), (1, 1), (3, 2)])
def test_half_a_pixel_is_rounded_to_even(side: int, content: int) -> None:
    assert Letterbox.fit((side, 100), (50, 50)).content_size == (content, 50)


@given(sizes, inputs)
@example((1, 65535), (640, 640))
@example((65535, 1), (1, 1))
def test_content_lies_in_the_middle_of_the_input(image_size: Size, input_size: Size) -> None:
    box = Letterbox.fit(image_size, input_size)
    (left, top), (height, width) = box.pad, box.content_size
    right, below = input_size[1] - width - left, input_size[0] - height - top
    assert min(height, width) >= 1
    assert 0 <= left <= right <= left + 1
    assert 0 <= top <= below <= top + 1
    assert height == input_size[0] or width == input_size[1]
    exact = min(Fraction(input_size[1], image_size[1]), Fraction(input_size[0], image_size[0]))
    for content, side in ((height, image_size[0]), (width, image_size[1])):
        assert content == 1 or abs(content - side * exact) <= Fraction(1, 2) + Fraction(1, 10**9)


@given(sizes, inputs)
def test_corners_of_the_picture_are_corners_of_the_content(image_size: Size, input_size: Size) -> None:
    box = Letterbox.fit(image_size, input_size)
    (left, top), (height, width) = box.pad, box.content_size
    content = np.array([[left, top, left + width, top + height]], np.float32)
    picture = np.array([[0, 0, image_size[1], image_size[0]]], np.float32)
    np.testing.assert_allclose(box.to_image(content), picture, rtol=1e-5)
    np.testing.assert_allclose(box.to_input(picture), content, rtol=1e-5, atol=1e-3)


def test_each_axis_goes_back_by_its_own_scale_and_unclipped() -> None:
    box = Letterbox.fit((717, 1283), (640, 640))
    there = np.array([[270, 290, 370, 350], [-10, 0, 700, 640]], np.float32)
    back = box.to_image(there)
    sx, sy = 640 / 1283, 358 / 717
    want = (there - [0, 141, 0, 141]) / [sx, sy, sx, sy]
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, want, rtol=1e-6)
    assert abs(back[0, 3] - (350 - 141) / box.scale) > 0.3  # what one gain for both axes would say
    assert back[1, 0] < 0
    assert back[1, 2] > 1283
    np.testing.assert_allclose(box.to_input(back), there, atol=1e-4)
    assert box.to_image(np.zeros((0, 4), np.float32)).shape == (0, 4)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_sizes_without_pixels_are_refused(size: Size) -> None:
    with pytest.raises(BadFrame, match="at least 1"):
        Letterbox.fit(size, (640, 640))
    with pytest.raises(BadOption, match="at least 1"):
        Letterbox.fit((640, 640), size)


def test_numpy_sizes_become_plain_numbers() -> None:
    shape = np.array([717, 1283])
    box = Letterbox.fit((shape[0], shape[1]), (640, 640))
    assert box == Letterbox.fit((717, 1283), (640, 640))
    assert all(type(side) is int for side in (*box.image_size, *box.content_size, *box.pad))
    assert math.isclose(box.scale, 640 / 1283)
