"""A region in the place of the picture: the right pixels, counted from its corner, and the buffer goes back."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineside.pipelines.catalog import Place, make, options_of
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.streams import fitted
from lineside.runtime.errors import BadFrame, StationError
from lineside.runtime.yuv import Yuv

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (60, 80, 3), np.uint8)


def cut(frame: Frame, **region: object) -> Frame:
    make("roi", options_of("roi", region, "test"), Place())(frame)
    return frame


@given(st.integers(-20, 90), st.integers(-20, 70), st.integers(1, 120), st.integers(1, 90))
def test_a_crop_is_that_part_of_the_picture_without_a_copy(left: int, top: int, width: int, height: int) -> None:
    box = max(left, 0), max(top, 0), min(left + width, 80), min(top + height, 60)
    frame = Frame(PICTURE)
    if box[0] >= box[2] or box[1] >= box[3]:
        with pytest.raises(BadFrame, match="outside the picture of 80x60"):
            cut(frame, crop=f"{left},{top},{width},{height}")
        return
    cut(frame, crop=f"{left},{top},{width},{height}")
    want = PICTURE[box[1] : box[3], box[0] : box[2]]
    assert np.array_equal(frame.bgr(), want) and frame.size == want.shape[:2]
    assert np.shares_memory(frame.bgr(), PICTURE)


def test_the_buffer_of_the_whole_picture_goes_back_to_its_source() -> None:
    back: list[object] = []
    frame = cut(Frame(PICTURE, recycle=back.append), crop="1,2,3,4")
    assert not back
    frame.release()
    assert len(back) == 1 and back[0] is PICTURE


def test_outside_a_polygon_it_is_grey() -> None:
    for picture in (PICTURE, PICTURE[..., 0]):
        frame = cut(Frame(picture), polygon="10,10, 50,10, 50,40, 10,40")
        assert np.array_equal(frame.bgr()[1:-1, 1:-1], picture[11:39, 11:49])
        triangle = cut(Frame(picture), polygon="10,10, 50,10, 10,40")
        assert triangle.size == (30, 40)
        assert (triangle.bgr()[-3:, -10:] == 114).all() and np.array_equal(
            triangle.bgr()[2:10, 2:20], picture[12:20, 12:30]
        )


def test_a_polygon_that_begins_outside_the_picture_keeps_its_place() -> None:
    shown = cut(Frame(PICTURE), polygon="-20,-10, 20,-10, 60,30, -20,30").bgr()
    assert shown.shape == (30, 60, 3)
    assert np.array_equal(shown[:29, :29], PICTURE[:29, :29]) and (shown[:10, 45:] == 114).all()


@pytest.mark.parametrize(
    "region",
    [{"polygon": "10,10, 50,10, 10,40"}, {"perspective": "20,10, 60,15, 70,50, 15,45", "size": "40x30"}],
    ids=["polygon", "perspective"],
)
def test_the_buffer_of_a_region_is_used_again_when_nobody_holds_its_frame(region: dict[str, str]) -> None:
    roi = make("roi", options_of("roi", region, "test"), Place())
    pictures = RNG.integers(0, 256, (4, 60, 80, 3), np.uint8)
    wanted = [cut(Frame(picture), **region).bgr() for picture in pictures]

    def shown(number: int) -> Frame:
        frame = Frame(pictures[number])
        roi(frame)
        assert np.array_equal(frame.bgr(), wanted[number])
        return frame

    first = shown(0)
    pixels, fork = first.bgr(), first.fork()
    first.release()
    second = shown(1)
    assert fork.bgr() is pixels and np.array_equal(pixels, wanted[0]), "somebody holds a fork of it"
    assert second.bgr() is not pixels
    fork.release()
    third = shown(2)
    assert third.bgr() is pixels
    back = second.bgr()
    roi_of_roi = make("roi", options_of("roi", {"crop": "1,1,9,9"}, "test"), Place())
    roi_of_roi(second)
    assert shown(3).bgr() is not back, "a part of it is shown"
    second.release()
    assert shown(0).bgr() is back


def test_a_plane_seen_at_an_angle_is_turned_to_the_front() -> None:
    board = np.zeros((60, 80, 3), np.uint8)
    corners = np.array([(20, 10), (60, 15), (70, 50), (15, 45)], np.int32)
    cv2.fillPoly(board, [corners], (255, 255, 255))
    frame = cut(Frame(board), perspective=",".join(map(str, corners.ravel())), size="40x30")
    assert frame.size == (30, 40) and frame.bgr()[2:-2, 2:-2].min() > 200
    assert cut(Frame(board), perspective="0,0,80,0,80,60,0,60").size == (60, 80)
    with pytest.raises(BadFrame, match="corner of the region lies outside"):
        cut(Frame(board), perspective="0,0,200,0,80,60,0,60")


def test_a_region_of_luma_and_chroma_is_one_of_its_pixels() -> None:
    planes = (RNG.integers(0, 256, (60, 80), np.uint8), RNG.integers(0, 256, (30, 40, 2), np.uint8))
    picture = Yuv("NV12", planes)
    frame = cut(Frame(picture), crop="3,5,20,10")
    assert np.array_equal(frame.bgr(), picture.to_bgr()[5:15, 3:23])


def test_a_region_is_fitted_to_a_stream_before_its_first_frame() -> None:
    stream = StreamInfo("top", "camera", live=True, size=(60, 80), fps=5.0)
    inside = make("roi", options_of("roi", {"crop": "70,50,20,20"}, "test"), Place())
    assert fitted(stream, [inside], "top") == replace(stream, size=(10, 10))
    assert fitted(replace(stream, size=None), [inside], "top").size is None
    outside = make("roi", options_of("roi", {"crop": "80,0,5,5"}, "test"), Place())
    with pytest.raises(StationError, match="frames of 'top' do not fit: .* outside the picture of 10x10"):
        fitted(stream, [inside, outside], "top")


@pytest.mark.parametrize(
    ("region", "says"),
    [
        ({}, "one of crop, polygon and perspective"),
        ({"crop": "0,0,9,9", "polygon": "0,0,1,1,2,0"}, "one of crop"),
        ({"crop": "0,0,9"}, "left,top,width,height"),
        ({"crop": "0,0,0,9"}, "at least one pixel"),
        ({"crop": "left"}, "at `crop`"),
        ({"crop": "1.2.3,0,9,9"}, "no number"),
        ({"polygon": "0,0,9,9"}, "fewer than three"),
        ({"polygon": "0,0,9,9,5"}, "odd count"),
        ({"perspective": "0,0,9,0,9,9"}, "not four corners"),
        ({"crop": "0,0,9,9", "size": "9x9"}, "size is for perspective"),
    ],
)
def test_a_region_that_cannot_be_meant(region: dict[str, str], says: str) -> None:
    with pytest.raises(StationError, match=says):
        options_of("roi", region, "test")
