"""The letterbox against a plain numpy oracle: sizes, layouts, what it touches and what it leaves alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.threads import lets_others_run, together
from lineside.runtime._native import Resampler
from lineside.runtime.geometry import Letterbox
from lineside.runtime.preprocess import Preprocessor
from oracle.letterbox import PADDING, layouts, letterboxed

Frame = npt.NDArray[np.uint8]
Size = tuple[int, int]


def noise(*shape: int, seed: int = 0) -> Frame:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def prepared(frame: Frame, input_size: Size) -> npt.NDArray[np.float32]:
    out = np.full((3, *input_size), np.nan, np.float32)
    Preprocessor(input_size).prepare(frame, out)
    return out


def resampler(image_size: Size, input_size: Size) -> tuple[Letterbox, Resampler]:
    box = Letterbox.fit(image_size, input_size)
    return box, Resampler(
        image_h=image_size[0],
        image_w=image_size[1],
        content_h=box.content_size[0],
        content_w=box.content_size[1],
        input_h=input_size[0],
        input_w=input_size[1],
        left=box.pad[0],
        top=box.pad[1],
    )


sides = st.one_of(st.integers(1, 9), st.integers(1, 260))


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=400)
@example((3, 3), (1, 1), True, 0)
@example((1, 1), (260, 7), True, 0)
@example((90, 120), (30, 40), True, 0)
@example((260, 260), (256, 256), False, 0)
def test_equals_the_oracle_in_every_layout(image_size: Size, input_size: Size, colour: bool, seed: int) -> None:
    frame = noise(*image_size, *((3,) if colour else ()), seed=seed)
    want = letterboxed(frame, input_size)
    for name, view in layouts(frame):
        assert np.array_equal(view, frame), name
        assert np.array_equal(prepared(view, input_size), want), name


@pytest.mark.parametrize(
    ("image_size", "input_size"),
    [
        ((1080, 1920), (640, 640)),
        ((2048, 2448), (640, 640)),
        ((3648, 5472), (640, 640)),
        ((3648, 5472), (1280, 1920)),
        ((480, 640), (640, 640)),
        ((1, 65535), (640, 640)),
        ((65535, 1), (352, 640)),
        ((5, 3), (640, 384)),
    ],
)
@pytest.mark.parametrize("colour", [True, False], ids=["colour", "grey"])
def test_equals_the_oracle_on_large_and_thin_pictures(image_size: Size, input_size: Size, colour: bool) -> None:
    frame = noise(*image_size, *((3,) if colour else ()))
    assert np.array_equal(prepared(frame, input_size), letterboxed(frame, input_size))


@given(st.tuples(sides, sides), st.tuples(sides, sides))
@settings(max_examples=50)
def test_grey_equals_grey_stacked_three_times(image_size: Size, input_size: Size) -> None:
    grey = noise(*image_size)
    want = prepared(grey, input_size)
    assert np.array_equal(prepared(np.stack([grey] * 3, -1), input_size), want)
    assert np.array_equal(prepared(np.broadcast_to(grey[..., None], (*image_size, 3)), input_size), want)


def test_channels_are_bgr_in_and_rgb_out() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[..., 0], frame[..., 1], frame[..., 2] = 10, 20, 30
    out = prepared(frame, (8, 8))
    assert [float(plane.max()) for plane in out] == [np.float32(v) * np.float32(1 / 255) for v in (30, 20, 10)]


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.booleans())
@settings(max_examples=100)
def test_content_and_padding_are_written_apart_and_cover_all(image_size: Size, input_size: Size, colour: bool) -> None:
    frame = noise(*image_size, *((3,) if colour else ()))
    box, plan = resampler(image_size, input_size)
    (left, top), (height, width) = box.pad, box.content_size
    inside = np.zeros((3, *input_size), bool)
    inside[:, top : top + height, left : left + width] = True
    content, padding = (np.full((3, *input_size), np.nan, np.float32) for _ in range(2))
    plan.run(frame, content)
    plan.fill_padding(padding)
    assert np.array_equal(np.isfinite(content), inside)
    assert np.array_equal(np.isfinite(padding), ~inside)
    assert (padding[~inside] == PADDING).all()


def test_one_plan_serves_many_threads() -> None:
    frames = [noise(300, 400, 3, seed=i) for i in range(4)]
    wanted = [letterboxed(frame, (96, 128)) for frame in frames]
    _, plan = resampler((300, 400), (96, 128))

    def work(i: int) -> None:
        out = np.full((3, 96, 128), PADDING, np.float32)
        for _ in range(50):
            plan.run(frames[i], out)
            assert np.array_equal(out, wanted[i])

    assert together([partial(work, i) for i in range(4)]) == []


def test_other_threads_run_meanwhile() -> None:
    frame, out = noise(1080, 1920, 3), np.empty((3, 640, 640), np.float32)
    _, plan = resampler((1080, 1920), (640, 640))
    assert lets_others_run(lambda: plan.run(frame, out))


@pytest.mark.parametrize("change", [{"image_h": 0}, {"content_w": 0}, {"left": -1}, {"top": 5}, {"content_h": 41}])
def test_a_plan_outside_its_input_is_refused(change: dict[str, int]) -> None:
    sizes = {
        "image_h": 9,
        "image_w": 9,
        "content_h": 36,
        "content_w": 36,
        "input_h": 40,
        "input_w": 40,
        "left": 2,
        "top": 2,
    }
    Resampler(**sizes)
    with pytest.raises(ValueError, match="letterbox"):
        Resampler(**sizes | change)


def test_a_plan_refuses_arrays_that_it_was_not_made_for() -> None:
    _, plan = resampler((20, 30), (32, 32))
    out = np.zeros((3, 32, 32), np.float32)
    plan.run(noise(20, 30, 3), out)
    for frame in (noise(30, 20, 3), noise(20, 30, 4), noise(20, 30, 1), noise(20, 30, 3)[None], noise(600)):
        with pytest.raises(ValueError, match="frame"):
            plan.run(frame, out)
    for other in (np.zeros((3, 32, 33), np.float32), np.zeros((3, 33, 32), np.float32)):
        with pytest.raises(ValueError, match="output"):
            plan.run(noise(20, 30, 3), other)
        with pytest.raises(ValueError, match="output"):
            plan.fill_padding(other)
    locked = out.copy()
    locked.flags.writeable = False
    for wrong in (out.astype(np.float64), out[None], np.asfortranarray(noise(3, 32, 32).astype(np.float32)), locked):
        with pytest.raises(TypeError):
            plan.run(noise(20, 30, 3), wrong)
    with pytest.raises(TypeError):
        plan.run(noise(20, 30, 3).astype(np.int8), out)


FENCED = r'''
import ctypes, mmap, random, sys
import numpy as np
from lineside.runtime.preprocess import Preprocessor

PAGE, BYTES = mmap.PAGESIZE, 64 * mmap.PAGESIZE
area = mmap.mmap(-1, BYTES + 2 * PAGE)
start = ctypes.addressof(ctypes.c_char.from_buffer(area))
libc = ctypes.CDLL(None, use_errno=True)
for fence in (start, start + PAGE + BYTES):
    assert libc.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(PAGE), 0) == 0
memory = np.frombuffer(area, np.uint8)[PAGE : PAGE + BYTES]
memory[:] = np.random.default_rng(0).integers(0, 256, BYTES, dtype=np.uint8)

def place(height, width, pixel, channel, row_sign, at_end):
    """A view whose first or last byte is the first or last byte between the fences: no byte more, no padding behind it."""
    row_bytes = (width - 1) * pixel + (3 if channel else 1)
    row = row_bytes + 3
    size = (height - 1) * row + row_bytes
    first = BYTES - size if at_end else 0
    first += (height - 1) * row if row_sign < 0 else 0
    first += 2 if channel < 0 else 0
    strides = (row_sign * row, pixel) + ((channel,) if channel else ())
    shape = (height, width) + ((3,) if channel else ())
    return np.ndarray(shape, np.uint8, memory, first, strides)

if "bite" in sys.argv:
    print(np.frombuffer(area, np.uint8)[PAGE + BYTES])
    sys.exit(0)
chance = random.Random(1)
for turn in range(600):
    height, width = chance.randint(1, 60), chance.choice((chance.randint(1, 12), chance.randint(1, 300)))
    size = chance.choice(((64, 64), (160, 96), (height, width), (max(1, height // 3), max(1, width // 3))))
    stage, out = Preprocessor(size), np.empty((3, *size), np.float32)
    for pixel, channel in ((1, 0), (3, 1), (3, -1), (4, 1), (4, -1), (5, 1), (2, 0)):
        for row_sign in (1, -1):
            for at_end in (True, False):
                frame = place(height, width, pixel, channel, row_sign, at_end)
                stage.prepare(frame, out)
                inside = out.copy()
                stage.prepare(np.ascontiguousarray(frame), out)
                assert np.array_equal(inside, out)
print("kept inside")
'''


def fenced(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", FENCED, *words], capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs mprotect of the C library")
def test_no_byte_outside_a_frame_is_read() -> None:
    """Frames that begin or end at a page that kills whoever reads it."""
    assert fenced("bite").returncode == -signal.SIGSEGV
    answer = fenced()
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "kept inside\n"
