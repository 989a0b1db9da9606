"""The letterbox kernels: the same bits as the native core, whatever the size, the layout and what the memory held."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.frame_steps import Array, Bench, address_of
from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda.parameters import Source
from lineside.runtime.cuda.staging import Form, form_of, stage
from lineside.runtime.geometry import Size
from lineside.runtime.preprocess import Preprocessor
from lineside.runtime.yuv import Matrix, Picture, Range, Yuv
from oracle import letterbox as oracle
from oracle import yuv as chroma

SIDES = st.integers(1, 130)
SIZES = st.tuples(SIDES, SIDES)
INPUTS = st.tuples(*[st.sampled_from([4, 20, 32, 36, 64, 100, 128])] * 2)


def head_of(input_size: Size) -> HeadContract:
    return HeadContract(kind="flat", classes=1, coefficients=0, input_size=input_size, strides=(4,))


def on_processor(picture: Picture, input_size: Size) -> Array:
    out = np.empty((3, *input_size), np.float32)
    Preprocessor(input_size).prepare(picture, out)
    return out


def by_kernels(picture: Picture, input_size: Size) -> Array:
    """From the picture where it lies, with its strides."""
    bench = Bench(head_of(input_size), form_of(picture))
    if isinstance(picture, Yuv):
        luma, u, v = picture.parts
        source = Source.planar(
            (address_of(luma), address_of(u), address_of(v)),
            (luma.strides[0], u.strides[0], v.strides[0]),
            (luma.strides[1], u.strides[1], v.strides[1]),
        )
    else:
        source = Source.packed(address_of(picture), picture.strides)
    return bench.letterbox(source)


def noise(size: Size, colour: bool, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3) if colour else size, dtype=np.uint8)


@settings(max_examples=80, deadline=None)
@given(size=SIZES, input_size=INPUTS, colour=st.booleans(), seed=st.integers(0, 9))
def test_pixels_become_the_same_bits_as_on_the_processor(size: Size, input_size: Size, colour: bool, seed: int) -> None:
    frame = noise(size, colour, seed)
    made = by_kernels(frame, input_size)
    assert made.tobytes() == on_processor(frame, input_size).tobytes()
    np.testing.assert_array_equal(made, oracle.letterboxed(frame, input_size))


@pytest.mark.parametrize("colour", [True, False])
def test_every_layout_of_pixels_is_read_where_it_lies(colour: bool) -> None:
    frame = noise((45, 70), colour)
    wanted = on_processor(frame, (96, 64))
    for name, laid in oracle.layouts(frame):
        assert by_kernels(laid, (96, 64)).tobytes() == wanted.tobytes(), name


@settings(max_examples=50, deadline=None)
@given(
    size=SIZES,
    input_size=INPUTS,
    matrix=st.sampled_from(["bt601", "bt709"]),
    span=st.sampled_from(["limited", "full"]),
    seed=st.integers(0, 9),
)
def test_luma_and_chroma_become_the_same_bits(
    size: Size, input_size: Size, matrix: Matrix, span: Range, seed: int
) -> None:
    luma, u, v = chroma.noise(*size, seed)
    wanted = oracle.letterboxed(chroma.bgr(luma, u, v, matrix, span == "full"), input_size)
    for picture in (Yuv("NV12", (luma, np.stack([u, v], -1)), matrix, span), Yuv("I420", (luma, u, v), matrix, span)):
        made = by_kernels(picture, input_size)
        assert made.tobytes() == on_processor(picture, input_size).tobytes()
        np.testing.assert_array_equal(made, wanted)


def test_every_layout_of_luma_and_chroma_is_read_where_it_lies() -> None:
    parts = chroma.noise(33, 51)
    wanted = on_processor(Yuv("I420", parts, "bt709", "limited"), (64, 96))
    for name, laid in chroma.layouts(*parts, "bt709", "limited"):
        assert by_kernels(laid, (64, 96)).tobytes() == wanted.tobytes(), name


@pytest.mark.parametrize("kind", ["bgr", "grey", "nv12"])
def test_what_was_staged_is_read_as_dense_bytes(kind: str) -> None:
    picture: Picture = noise((41, 63), kind == "bgr")
    if kind == "nv12":
        picture = Yuv("I420", chroma.noise(41, 63), "bt601", "full")
    form = form_of(picture)
    assert form.kind == kind
    dense = np.empty(form.nbytes, np.uint8)
    stage(picture, dense)
    made = Bench(head_of((64, 64)), form).letterbox(Source.dense(form, address_of(dense)))
    assert made.tobytes() == on_processor(picture, (64, 64)).tobytes()


def test_a_buffer_is_right_after_a_picture_of_another_size() -> None:
    wide, tall = noise((20, 60), True), noise((60, 20), True)
    first = Bench(head_of((64, 64)), form_of(wide))
    other = Bench(head_of((64, 64)), form_of(tall))
    shared = first.letterbox(Source.packed(address_of(wide), wide.strides))
    other.input[...] = shared  # what the wide one left behind lies under the padding of the tall one
    made = other.letterbox(Source.packed(address_of(tall), tall.strides))
    assert made.tobytes() == on_processor(tall, (64, 64)).tobytes()


def test_another_address_needs_no_other_launches() -> None:
    one, two = noise((30, 40), True, 1), noise((30, 40), True, 2)
    bench = Bench(head_of((64, 64)), form_of(one))
    before = bench.steps.letterbox(bench.at)
    for frame in (one, two):
        made = bench.letterbox(Source.packed(address_of(frame), frame.strides))
        assert made.tobytes() == on_processor(frame, (64, 64)).tobytes()
    assert bench.steps.letterbox(bench.at) == before


def test_the_longest_side_is_scaled() -> None:
    form = Form("grey", (1, 65535))
    line = noise(form.size, False)
    assert by_kernels(line, (32, 64)).tobytes() == on_processor(line, (32, 64)).tobytes()


def test_weights_half_way_between_two_are_rounded_as_on_the_processor() -> None:
    """From an odd number of rows to 256 every weight is half way between two steps, but for what two divisions round."""
    for height in (49, 93, 99, 391, 393, *range(257, 512, 6)):
        frame = noise((height, 4), False, height)
        assert by_kernels(frame, (256, 8)).tobytes() == on_processor(frame, (256, 8)).tobytes(), height
