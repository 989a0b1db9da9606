"""From frames to input buffers: what is refused, what is reused, what is written again."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import numpy.typing as npt
import pytest

from lineside.runtime.errors import BadFrame, BadOption
from lineside.runtime.geometry import Letterbox
from lineside.runtime.preprocess import MAX_SIDE, Preprocessor, check_frame
from oracle.letterbox import letterboxed

Floats = npt.NDArray[np.float32]
POISON = np.float32(7)


def noise(*shape: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def buffer(*shape: int) -> Floats:
    return np.full(shape, np.nan, np.float32)


@pytest.mark.parametrize(
    "frame",
    [
        noise(4, 5, 3),
        noise(4, 5),
        noise(1, 1),
        noise(1, 1, 3),
        noise(1, MAX_SIDE),
        noise(8, 8, 4)[..., :3],
        np.broadcast_to(np.uint8(9), (4, 5)),
    ],
    ids=lambda frame: str(frame.shape),
)
def test_frames_are_accepted(frame: npt.NDArray[np.uint8]) -> None:
    check_frame(frame)
    out = buffer(3, 32, 32)
    assert Preprocessor((32, 32)).prepare(frame, out) == Letterbox.fit((frame.shape[0], frame.shape[1]), (32, 32))
    assert np.array_equal(out, letterboxed(frame, (32, 32)))


@pytest.mark.parametrize(
    ("frame", "word"),
    [
        (noise(4, 5, 3).astype(np.float32), "float32"),
        (noise(4, 5, 3).astype(np.int8), "int8"),
        (noise(4, 5) > 3, "bool"),
        (noise(4, 5, 3)[None], "shape"),
        (noise(4, 5, 1), r"\[\.\.\., 0\]"),
        (noise(4, 5, 4), "alpha"),
        (noise(5), "shape"),
        (noise(0, 5, 3), "between 1"),
        (noise(5, 0), "between 1"),
        (noise(1, MAX_SIDE + 1), "65535"),
        ([[1, 2]], "list"),
        (None, "NoneType"),
    ],
    ids=lambda value: str(getattr(value, "shape", "")),
)
def test_other_frames_are_refused_with_a_reason(frame: npt.NDArray[np.uint8], word: str) -> None:
    with pytest.raises(BadFrame, match=word):
        check_frame(frame)
    out = buffer(3, 32, 32)
    with pytest.raises(BadFrame, match=word):
        Preprocessor((32, 32)).prepare(frame, out)
    assert np.isnan(out).all()


def locked() -> Floats:
    out = buffer(3, 32, 64)
    out.flags.writeable = False
    return out


@pytest.mark.parametrize(
    "out",
    [
        buffer(3, 64, 32),
        buffer(1, 3, 32, 64),
        buffer(3, 32, 64).astype(np.float64),
        buffer(3, 32, 64).astype(">f4"),
        np.asfortranarray(buffer(3, 32, 64)),
        buffer(3, 32, 128)[..., ::2],
        np.zeros(3 * 32 * 64 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(3, 32, 64),
        locked(),
    ],
)
def test_other_buffers_are_refused(out: Floats) -> None:
    with pytest.raises(BadOption, match=r"\(3, 32, 64\), float32"):
        Preprocessor((32, 64)).prepare(noise(9, 9, 3), out)


def test_an_input_without_pixels_is_refused() -> None:
    with pytest.raises(BadOption, match="at least 1"):
        Preprocessor((0, 64))


def test_padding_is_written_once_per_buffer_and_geometry() -> None:
    stage = Preprocessor((64, 64))
    batch = buffer(2, 3, 64, 64)
    wide, tall = noise(40, 100, 3), noise(100, 40, 3)
    for i in range(2):
        stage.prepare(wide, batch[i])
        assert np.array_equal(batch[i], letterboxed(wide, (64, 64)))
    batch[:, :, 0, 0] = POISON
    stage.prepare(wide, batch[0])
    stage.prepare(wide // 2, batch[1])
    assert (batch[:, :, 0, 0] == POISON).all()
    stage.prepare(tall, batch[1])
    assert np.array_equal(batch[1], letterboxed(tall, (64, 64)))
    assert (batch[0, :, 0, 0] == POISON).all()
    stage.prepare(tall, batch[0])
    stage.prepare(wide, batch[0])
    assert np.array_equal(batch[0], letterboxed(wide, (64, 64)))


def test_pictures_of_other_sizes_share_the_padding_of_one_content_window() -> None:
    stage, out = Preprocessor((64, 64)), buffer(3, 64, 64)
    stage.prepare(noise(50, 100, 3), out)
    out[:, 0, 0] = POISON
    larger = noise(100, 200, 3)
    stage.prepare(larger, out)
    assert (out[:, 0, 0] == POISON).all()
    assert np.array_equal(out[:, 16:48], letterboxed(larger, (64, 64))[:, 16:48])


def test_fresh_buffers_at_old_addresses_are_padded_too() -> None:
    stage, frame = Preprocessor((32, 32)), noise(10, 20, 3)
    want = letterboxed(frame, (32, 32))
    for _ in range(300):
        out = buffer(3, 32, 32)
        stage.prepare(frame, out)
        assert np.array_equal(out, want)
        del out


def test_buffers_are_not_kept_alive() -> None:
    stage, out = Preprocessor((32, 32)), buffer(3, 32, 32)
    stage.prepare(noise(10, 20, 3), out)
    watched = weakref.ref(out)
    del out
    gc.collect()
    assert watched() is None


def test_many_picture_sizes_in_turn() -> None:
    stage, out = Preprocessor((48, 64)), buffer(3, 48, 64)
    frames = [noise(20 + i, 90 - 2 * i, 3, seed=i) for i in range(40)]
    for frame in (*frames, *frames[::-1], frames[0]):
        box = stage.prepare(frame, out)
        assert box == Letterbox.fit((frame.shape[0], frame.shape[1]), (48, 64))
        assert np.array_equal(out, letterboxed(frame, (48, 64)))


def test_nothing_large_is_allocated_per_frame() -> None:
    stage, out = Preprocessor((640, 640)), buffer(3, 640, 640)
    colour = noise(1080, 1920, 3)
    frames = [colour, colour[::-1], colour[..., ::-1], noise(720, 1280), colour[:, ::-1]]
    for frame in frames:
        stage.prepare(frame, out)
    tracemalloc.start()
    try:
        for frame in frames:
            stage.prepare(frame, out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16_384
