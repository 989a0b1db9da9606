"""Luma and chroma into the letterbox: the rule, both formats, any strides and sizes, and what is refused."""

from __future__ import annotations

import signal
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.threads import lets_others_run, together
from lineside.runtime._native import Resampler, yuv_to_bgr
from lineside.runtime.errors import BadFrame
from lineside.runtime.geometry import Letterbox
from lineside.runtime.preprocess import MAX_SIDE, Preprocessor, check_frame
from lineside.runtime.yuv import Yuv, picture_size
from oracle.letterbox import letterboxed
from oracle.yuv import KR_KB, bgr, exact_factors, layouts, noise

Size = tuple[int, int]
RULES: list[tuple[Any, Any]] = [(matrix, range_) for matrix in ("bt601", "bt709") for range_ in ("limited", "full")]
sides = st.one_of(st.integers(1, 9), st.integers(1, 150))
rules = st.sampled_from(RULES)


def prepared(frame: Any, input_size: Size) -> npt.NDArray[np.float32]:
    out = np.full((3, *input_size), np.nan, np.float32)
    Preprocessor(input_size).prepare(frame, out)
    return out


def nv12(height: int, width: int, seed: int = 0) -> Yuv:
    luma, u, v = noise(height, width, seed)
    return Yuv("NV12", (luma, np.stack([u, v], -1)))


def i420(height: int, width: int, seed: int = 0) -> Yuv:
    return Yuv("I420", noise(height, width, seed))


# ---- the rule -----------------------------------------------------------------------------------------------------------


@given(st.tuples(sides, sides), st.tuples(sides, sides), rules, st.integers(0, 2**32 - 1))
@settings(max_examples=120)
@example((1, 1), (7, 33), ("bt709", "limited"), 0)
@example((31, 33), (31, 33), ("bt601", "full"), 0)
@example((90, 120), (30, 40), ("bt709", "full"), 0)
@example((17, 16), (32, 32), ("bt601", "limited"), 0)
def test_equals_the_oracle_in_every_layout(size: Size, input_size: Size, rule: tuple[Any, Any], seed: int) -> None:
    """Converted as pixels, and on the way into the input: the latter is exactly the letterbox of the former."""
    parts = noise(*size, seed)
    pixels = bgr(*parts, rule[0], rule[1] == "full")
    tensor = letterboxed(pixels, input_size)
    for name, picture in layouts(*parts, *rule):
        assert picture.size == size
        assert np.array_equal(picture.to_bgr(), pixels), name
        assert np.array_equal(prepared(picture, input_size), tensor), name


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_equals_the_oracle_for_all_chroma(rule: tuple[Any, Any]) -> None:
    """All pairs of U and V, each with eight lumas, which differ from pair to pair, and with the ends of the scale."""
    u, v = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    chance = np.random.default_rng(0)
    lumas = [chance.integers(0, 256, (512, 512), dtype=np.uint8) for _ in range(2)]
    ends = np.tile(np.array([[0, 255], [15, 16]], np.uint8), (256, 256))
    for luma in (*lumas, ends):
        want = bgr(luma, u, v, rule[0], rule[1] == "full")
        assert np.array_equal(Yuv("I420", (luma, u, v), *rule).to_bgr(), want)
        assert np.array_equal(Yuv("NV12", (luma, np.stack([u, v], -1)), *rule).to_bgr(), want)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_is_what_the_standards_say(rule: tuple[Any, Any]) -> None:
    """The exact formula, rounded; OpenCV's three decimals are up to a quarter of a step beside it."""
    matrix, full = rule[0], rule[1] == "full"
    luma, u, v = noise(300, 300)
    luma = np.maximum(luma, 16) if not full else luma
    got = Yuv("I420", (luma, u, v), *rule).to_bgr().astype(np.float64)
    us, vs = (np.repeat(np.repeat(plane, 2, 0), 2, 1)[:300, :300].astype(np.float64) - 128 for plane in (u, v))
    grey, v_red, u_green, v_green, u_blue = (float(factor) for factor in exact_factors(matrix, full))
    bright = (luma.astype(np.float64) - (0 if full else 16)) * grey
    exact = np.stack([bright + us * u_blue, bright + us * u_green + vs * v_green, bright + vs * v_red], -1)
    assert np.abs(got - np.clip(exact, 0, 255)).max() < (0.75 if rule == ("bt601", "limited") else 0.501)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 140, 30)])
def test_colours_come_back(rule: tuple[Any, Any], colour: tuple[int, int, int]) -> None:
    """A colour made into luma and chroma by the definition of the standard is that colour again, to rounding."""
    blue, green, red = (Fraction(value, 255) for value in colour)
    kr, kb = KR_KB[rule[0]]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    low, steps, chroma = (0, 255, 255) if rule[1] == "full" else (16, 219, 224)
    y, u, v = round(low + luma * steps), min(255, round(128 + cb * chroma)), min(255, round(128 + cr * chroma))
    planes = np.full((4, 4), y, np.uint8), np.full((2, 2), u, np.uint8), np.full((2, 2), v, np.uint8)
    got = Yuv("I420", planes, *rule).to_bgr()
    assert np.abs(got.astype(int) - colour).max() <= 2


# ---- the letterbox ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1080, 1920), (717, 1283), (2048, 2448), (1, 4999), (4999, 1), (5, 3)], ids=str)
@pytest.mark.parametrize("make", [nv12, i420])
def test_large_and_thin_pictures(make: Any, size: Size) -> None:
    picture = make(*size)
    want = prepared(picture.to_bgr(), (640, 640))
    assert np.array_equal(prepared(picture, (640, 640)), want)


def test_pictures_of_all_kinds_in_turn() -> None:
    """The memory that rows are converted in is kept, and grows."""
    stage, out = Preprocessor((64, 96)), np.empty((3, 64, 96), np.float32)
    for i in range(12):
        size = 30 + 17 * i % 100, 40 + 31 * i % 90
        for picture in (nv12(*size, i), i420(*size, i), nv12(*size, i).to_bgr()):
            pixels = picture if isinstance(picture, np.ndarray) else picture.to_bgr()
            assert stage.prepare(picture, out) == Letterbox.fit(size, (64, 96))
            assert np.array_equal(out, letterboxed(pixels, (64, 96)))


@pytest.mark.parametrize("size", [(7, 5), (33, 47), (90, 121)], ids=str)
def test_bgrx_is_a_view_of_bgr(size: Size) -> None:
    """As GStreamer gives it: four bytes a pixel, room behind each row."""
    height, width = size
    stride = 4 * width + 12
    memory = np.random.default_rng(0).integers(0, 256, height * stride, dtype=np.uint8)
    frame = np.ndarray((height, width, 4), np.uint8, memory, 0, (stride, 4, 1))[..., :3]
    for input_size in ((32, 32), (30, 40), (64, 100)):
        assert np.array_equal(prepared(frame, input_size), letterboxed(frame.copy(), input_size))


def test_nothing_large_is_allocated_per_frame() -> None:
    stage, out = Preprocessor((640, 640)), np.empty((3, 640, 640), np.float32)
    frames = [nv12(1080, 1920), i420(1080, 1920), nv12(719, 1279)]
    pixels = np.empty((1080, 1920, 3), np.uint8)
    for frame in frames:
        stage.prepare(frame, out)
    tracemalloc.start()
    try:
        for frame in frames:
            stage.prepare(frame, out)
        frames[0].to_bgr(pixels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16_384


def plan_for(size: Size, input_size: Size) -> Resampler:
    box = Letterbox.fit(size, input_size)
    return Resampler(
        image_h=size[0],
        image_w=size[1],
        content_h=box.content_size[0],
        content_w=box.content_size[1],
        input_h=input_size[0],
        input_w=input_size[1],
        left=box.pad[0],
        top=box.pad[1],
    )


def test_one_plan_serves_many_threads() -> None:
    pictures = [nv12(300, 400, seed) for seed in range(4)]
    wanted = [letterboxed(picture.to_bgr(), (96, 128)) for picture in pictures]
    plan = plan_for((300, 400), (96, 128))

    def work(i: int) -> None:
        out, rows = np.zeros((3, 96, 128), np.float32), np.empty(plan.row_bytes, np.uint8)
        plan.fill_padding(out)
        for _ in range(30):
            plan.run_yuv(*pictures[i].parts, False, False, out, rows)
            assert np.array_equal(out, wanted[i])

    assert together([partial(work, i) for i in range(4)]) == []


@pytest.mark.parametrize("to_pixels", [True, False], ids=["to_bgr", "prepare"])
def test_other_threads_run_meanwhile(to_pixels: bool) -> None:
    picture, stage = nv12(1080, 1920), Preprocessor((640, 640))
    out, pixels = np.empty((3, 640, 640), np.float32), np.empty((1080, 1920, 3), np.uint8)
    assert lets_others_run((lambda: picture.to_bgr(pixels)) if to_pixels else (lambda: stage.prepare(picture, out)))


# ---- one block of memory ------------------------------------------------------------------------------------------------


def block(picture: Yuv, strides: list[int], offsets: list[int], size: int) -> bytearray:
    """The planes written into one block of bytes."""
    memory = bytearray(b"\x4d" * size)
    for plane, stride, offset in zip(picture.planes, strides, offsets, strict=True):
        for y, row in enumerate(plane):
            data = row.tobytes()
            memory[offset + y * stride : offset + y * stride + len(data)] = data
    return memory


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 7), (9, 18), (48, 64)], ids=str)
@pytest.mark.parametrize("kind", ["NV12", "I420"])
@pytest.mark.parametrize("padding", [0, 3, 64])
def test_planes_in_one_block(kind: Any, size: Size, padding: int) -> None:
    picture = (nv12 if kind == "NV12" else i420)(*size)
    strides = [plane[0].nbytes + padding for plane in picture.planes]
    gaps = np.cumsum([0, *(plane.shape[0] * stride for plane, stride in zip(picture.planes, strides, strict=True))])
    tight = block(picture, strides, gaps[:-1].tolist(), int(gaps[-1]))
    offsets = [int(gap) + 10 * (i + 1) for i, gap in enumerate(gaps[:-1])]
    loose = block(picture, strides, offsets, int(gaps[-1]) + 10 * len(strides))
    found = [
        Yuv.from_buffer(tight, kind, size, strides=strides),
        Yuv.from_buffer(bytes(loose), kind, size, strides=[*strides, 99, 0], offsets=[*offsets, 0]),
    ]
    if not padding:
        found.append(Yuv.from_buffer(np.frombuffer(tight, np.uint8), kind, size))
    for view in found:
        assert (view.format, view.size, view.nbytes) == (kind, size, picture.nbytes)
        assert all(np.array_equal(ours, plane) for ours, plane in zip(view.planes, picture.planes, strict=True))
        assert np.array_equal(view.to_bgr(), picture.to_bgr())


def test_a_block_is_viewed_not_copied() -> None:
    memory = np.zeros(24, np.uint8)
    view = Yuv.from_buffer(memory, "NV12", (4, 4))
    memory[:] = np.arange(24)
    assert view.planes[0].tolist() == np.arange(16).reshape(4, 4).tolist()
    assert view.parts[1].tolist() == [[16, 18], [20, 22]]
    assert view.parts[2].tolist() == [[17, 19], [21, 23]]


@pytest.mark.parametrize(
    ("count", "options", "word"),
    [
        (23, {}, "23 bytes do not hold NV12 of 4 x 4 pixels.*end at 24"),
        (24, {"offsets": [0, 17]}, "end at 25"),
        (24, {"offsets": [-1, 16]}, "offsets"),
        (24, {"offsets": [0]}, "offsets"),
        (24, {"strides": [3, 4]}, r"needs \[4, 4\] or more"),
        (24, {"strides": [4]}, "strides"),
        (24, {"strides": [4, 2**70]}, "strides"),
        (0, {}, "do not hold|cannot be viewed"),
        (24, {"format": "YV12"}, "NV12 or I420"),
        (24, {"size": (0, 4)}, "4 x 0"),
        (24, {"matrix": "bt2020"}, "bt601 or bt709"),
        (24, {"range": "tv"}, "limited or full"),
    ],
)
def test_a_block_that_is_no_picture_is_refused(count: int, options: dict[str, Any], word: str) -> None:
    given = {"format": "NV12", "size": (4, 4), **options}
    with pytest.raises(BadFrame, match=word):
        Yuv.from_buffer(bytes(count), **given)


@pytest.mark.parametrize("data", [None, "text", np.zeros((6, 8), np.uint8)[:, ::2]], ids=["None", "text", "array"])
def test_what_is_no_block_is_refused(data: Any) -> None:
    with pytest.raises(BadFrame, match="cannot be viewed"):
        Yuv.from_buffer(data, "NV12", (4, 4))


numbers = st.one_of(st.integers(0, 40), st.integers(-9, 400), st.sampled_from([2**31, 2**63, -(2**63), 2**64]))


@given(
    st.sampled_from(["NV12", "I420"]),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.none() | st.lists(numbers, max_size=4),
    st.none() | st.lists(numbers, max_size=4),
    st.integers(0, 300),
)
@settings(max_examples=300)
def test_a_view_stays_within_its_block(kind: Any, size: Size, strides: Any, offsets: Any, count: int) -> None:
    """Whatever numbers are given: a picture whose last bytes lie in the block, or the error."""
    memory = np.zeros(count, np.uint8)
    try:
        view = Yuv.from_buffer(memory, kind, size, strides=strides, offsets=offsets)
    except BadFrame:
        return
    assert view.size == size
    begin = memory.__array_interface__["data"][0]
    for plane in view.planes:
        first = plane.__array_interface__["data"][0]
        last = first + sum((side - 1) * step for side, step in zip(plane.shape, plane.strides, strict=True))
        assert begin <= first and last < begin + count


# ---- what is refused ----------------------------------------------------------------------------------------------------


def zeros(*shape: int) -> npt.NDArray[np.uint8]:
    return np.zeros(shape, np.uint8)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"format": "NV21"}, "NV12 or I420"),
        ({"matrix": "bt2020"}, "bt601 or bt709"),
        ({"range": "tv"}, "limited or full"),
        ({"planes": (zeros(4, 6),)}, "rounded up"),
        ({"planes": (zeros(4, 6), zeros(2, 3), zeros(2, 3))}, "NV12 of 6 x 4"),
        ({"format": "I420", "planes": (zeros(4, 6), zeros(2, 3, 2))}, "I420 of 6 x 4"),
        ({"planes": (zeros(5, 6), zeros(2, 3, 2))}, r"\(3, 3, 2\)"),
        ({"planes": (zeros(4, 7), zeros(2, 3, 2))}, r"\(2, 4, 2\)"),
        ({"planes": ()}, "luma"),
        ({"planes": (zeros(4, 6, 1), zeros(2, 3, 2))}, r"\(H, W\)"),
        ({"planes": (zeros(0, 6), zeros(0, 3, 2))}, "between 1"),
        ({"planes": (zeros(1, MAX_SIDE + 1), zeros(1, MAX_SIDE // 2 + 1, 2))}, "65535"),
        ({"planes": (zeros(4, 6).astype(np.int8), zeros(2, 3, 2))}, "uint8"),
        ({"planes": (b"1234", b"12")}, "from_buffer"),
    ],
    ids=str,
)
def test_planes_that_make_no_picture_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(BadFrame, match=word):
        Yuv(**{"format": "NV12", "planes": (zeros(4, 6), zeros(2, 3, 2)), **options})


@pytest.mark.parametrize(
    "out",
    [zeros(4, 6), zeros(6, 4, 3), zeros(4, 6, 4)[..., :3], zeros(4, 6, 3).astype(np.int8)],
    ids=lambda out: str(out.shape),
)
def test_other_outputs_are_refused(out: Any) -> None:
    with pytest.raises(BadFrame, match=r"\(4, 6, 3\), uint8"):
        nv12(4, 6).to_bgr(out)


def test_the_core_refuses_planes_that_it_was_not_made_for() -> None:
    plan, out, rows = plan_for((20, 30), (32, 32)), np.zeros((3, 32, 32), np.float32), zeros(240)
    assert plan.row_bytes == rows.size
    luma, u, v = nv12(20, 30).parts
    plan.run_yuv(luma, u, v, True, False, out, rows)
    for planes in ((luma[:18], u, v), (luma, u[1:], v), (luma, u, v[:, 1:]), (luma[:18], u[:9], v[:9])):
        with pytest.raises(ValueError, match=r"yuv|letterbox"):
            plan.run_yuv(*planes, True, False, out, rows)
    with pytest.raises(ValueError, match="row_bytes"):
        plan.run_yuv(luma, u, v, True, False, out, rows[1:])
    with pytest.raises(ValueError, match="output"):
        plan.run_yuv(luma, u, v, True, False, np.zeros((3, 32, 33), np.float32), rows)
    with pytest.raises(ValueError, match="another size"):
        yuv_to_bgr(luma, u, v, True, False, zeros(20, 29, 3))
    with pytest.raises(TypeError):
        yuv_to_bgr(luma.astype(np.int8), u, v, True, False, zeros(20, 30, 3))


def test_a_picture_says_what_it_is() -> None:
    picture = Yuv("NV12", nv12(1080, 1920).planes, "bt709")
    assert repr(picture) == "Yuv(NV12 1920x1080, bt709, limited range)"
    assert (
        picture_size(picture) == picture_size(zeros(1080, 1920)) == picture_size(zeros(1080, 1920, 3)) == (1080, 1920)
    )
    check_frame(picture)


# ---- what is read -------------------------------------------------------------------------------------------------------

FENCED = r'''
import ctypes, mmap, random, sys
import numpy as np
from lineside.runtime._native import yuv_to_bgr
from lineside.runtime.preprocess import Preprocessor
from lineside.runtime.yuv import Yuv

PAGE, BYTES = mmap.PAGESIZE, 16 * mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)

def protect(address, count):
    assert libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(count), 0) == 0

def fenced_memory():
    area = mmap.mmap(-1, BYTES + 2 * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    protect(start, PAGE)
    protect(start + PAGE + BYTES, PAGE)
    memory = np.frombuffer(area, np.uint8)[PAGE : PAGE + BYTES]
    memory[:] = np.random.default_rng(0).integers(0, 256, BYTES, dtype=np.uint8)
    return memory

def place(memory, height, width, at_end):
    """A plane whose last byte is the last one before the fence, or whose first byte is the first one behind it."""
    row = width + 3
    first = BYTES - ((height - 1) * row + width) if at_end else 0
    return np.ndarray((height, width), np.uint8, memory, first, (row, 1))

def inside():
    memory = [fenced_memory() for _ in range(4)]
    chance = random.Random(1)
    for turn in range(150):
        height, width = chance.randint(1, 40), chance.choice((chance.randint(1, 40), chance.randint(1, 200)))
        size = chance.choice(((64, 64), (height, width), (max(1, height // 3), max(1, width // 3))))
        stage, out = Preprocessor(size), np.empty((3, *size), np.float32)
        for at_end in (True, False):
            luma = place(memory[0], height, width, at_end)
            h, w = (height + 1) // 2, (width + 1) // 2
            u, v = place(memory[1], h, w, at_end), place(memory[2], h, w, at_end)
            together = place(memory[1], h, 2 * w, at_end)
            pair = np.lib.stride_tricks.as_strided(together, (h, w, 2), (together.strides[0], 2, 1))
            pixels = memory[3][BYTES - height * width * 3 :] if at_end else memory[3][: height * width * 3]
            pixels = pixels.reshape(height, width, 3)
            for picture in (Yuv("I420", (luma, u, v)), Yuv("NV12", (luma, pair))):
                stage.prepare(picture, out)
                mine = out.copy()
                picture.to_bgr(pixels)
                stage.prepare(pixels, out)
                assert np.array_equal(mine, out)
    print("kept inside")

def skipped():
    """A third of the height, and a page a row: the rows that no output row is made of may not be read."""
    area = mmap.mmap(-1, 90 * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    luma = np.ndarray((90, 120), np.uint8, np.frombuffer(area, np.uint8), 0, (PAGE, 1))
    luma[:] = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
    chroma = np.random.default_rng(1).integers(0, 256, (45, 60, 2), dtype=np.uint8)
    whole = Yuv("NV12", (luma.copy(), chroma))
    for y in range(90):
        if y % 3 != 1:
            protect(start + y * PAGE, PAGE)
    stage, want, got = Preprocessor((30, 40)), *(np.empty((3, 30, 40), np.float32) for _ in range(2))
    stage.prepare(whole, want)
    stage.prepare(Yuv("NV12", (luma, chroma)), got)
    assert np.array_equal(want, got)
    print("skipped")
    sys.stdout.flush()
    Yuv("NV12", (luma, chroma)).to_bgr()

{"inside": inside, "skipped": skipped}[sys.argv[1]]()
'''

needs_mprotect = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs mprotect of the C library")


def fenced(word: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", FENCED, word], capture_output=True, text=True, timeout=240)


@needs_mprotect
def test_no_byte_outside_the_planes_is_touched() -> None:
    """Planes and pixels that begin or end at a page that kills whoever touches it."""
    answer = fenced("inside")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "kept inside\n"


@needs_mprotect
def test_rows_that_are_skipped_are_not_converted() -> None:
    """Luma rows that the resampling leaves out lie on pages that kill; a conversion of all rows does die of them."""
    answer = fenced("skipped")
    assert answer.stdout == "skipped\n", answer.stderr
    assert answer.returncode == -signal.SIGSEGV
