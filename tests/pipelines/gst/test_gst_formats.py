"""Every pixel format arrives as it lies in memory: odd sizes, padded rows, named colours."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from helpers.gst import encoded, everything, needs, opened
from lineside.pipelines.gst.recipes import Recipe, file
from lineside.runtime.errors import SourceError
from lineside.runtime.yuv import Yuv

SIZES = ((48, 64), (45, 61), (1, 1), (2, 3), (7, 5))
COUNT = 3


def raw(
    path: Path, form: str, size: tuple[int, int], strides: tuple[int, ...], rows: tuple[int, ...], more: str = ""
) -> Recipe:
    """A pipeline that reads noise from a file, whose planes have so many rows of so many bytes."""
    needs("rawvideoparse")
    starts = [sum(s * r for s, r in zip(strides[:k], rows[:k], strict=True)) for k in range(len(strides))]
    frame = sum(s * r for s, r in zip(strides, rows, strict=True))
    noise = np.random.default_rng(size[0] * 1000 + size[1]).integers(0, 256, frame * COUNT, np.uint8)
    path.write_bytes(noise.tobytes())
    text = (
        f"filesrc name=source ! rawvideoparse format={form} width={size[1]} height={size[0]} framerate=25/1 "
        f'plane-strides="<{",".join(map(str, strides))}>" plane-offsets="<{",".join(map(str, starts))}>" frame-size={frame} {more}'
    )
    return Recipe(text, "noise", False, {"location": str(path)})


def view(
    path: Path, number: int, frame: int, start: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> np.ndarray:
    """A plane of one frame of such a file, read without GStreamer."""
    data = np.frombuffer(path.read_bytes(), np.uint8)[number * frame + start :]
    return as_strided(data, shape, strides)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pad", [0, 20])
@pytest.mark.parametrize(("form", "channels"), [("bgr", 3), ("bgrx", 4), ("bgra", 4), ("gray8", 1)])
def test_packed_formats(tmp_path: Path, form: str, channels: int, size: tuple[int, int], pad: int) -> None:
    height, width = size
    stride = (width * channels + 3) // 4 * 4 + pad
    path = tmp_path / "noise"
    frames = everything(raw(path, form, size, (stride,), (height,)))
    assert len(frames) == COUNT
    for number, frame in enumerate(frames):
        wanted = view(path, number, stride * height, 0, (height, width, channels), (stride, channels, 1))
        wanted = wanted[..., 0] if channels == 1 else wanted[..., :3]
        assert isinstance(frame.pixels, np.ndarray)
        assert frame.size == size and frame.pixels.strides[0] == stride
        assert np.array_equal(frame.pixels, wanted)
        assert not frame.pixels.flags.writeable


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pad", [0, 20])
@pytest.mark.parametrize("form", ["nv12", "i420"])
def test_luma_and_chroma(tmp_path: Path, form: str, size: tuple[int, int], pad: int) -> None:
    height, width = size
    rows, columns = (height + 1) // 2, (width + 1) // 2
    luma = (width + 3) // 4 * 4 + pad
    chroma = ((2 * columns if form == "nv12" else columns) + 3) // 4 * 4 + pad
    strides, tall = (
        ((luma, chroma), (height, rows)) if form == "nv12" else ((luma, chroma, chroma), (height, rows, rows))
    )
    frame_size = sum(s * r for s, r in zip(strides, tall, strict=True))
    path = tmp_path / "noise"
    frames = everything(raw(path, form, size, strides, tall))
    assert len(frames) == COUNT
    for number, frame in enumerate(frames):
        got = frame.pixels
        assert isinstance(got, Yuv) and got.format == form.upper() and frame.size == got.size == size
        shapes = [((height, width), (luma, 1))]
        shapes += [((rows, columns, 2), (chroma, 2, 1))] if form == "nv12" else [((rows, columns), (chroma, 1))] * 2
        start = 0
        for plane, (shape, steps), stride, count in zip(got.planes, shapes, strides, tall, strict=True):
            assert plane.strides == steps
            assert np.array_equal(plane, view(path, number, frame_size, start, shape, steps))
            start += stride * count
        assert np.array_equal(frame.bgr(), got.to_bgr())


@pytest.mark.parametrize(
    ("colours", "matrix", "levels"),
    [
        ("bt709", "bt709", "limited"),
        ("bt601", "bt601", "limited"),
        ("1:4:0:0", "bt601", "full"),
        ("1:3:0:0", "bt709", "full"),
    ],
)
def test_colours_as_the_caps_name_them(tmp_path: Path, colours: str, matrix: str, levels: str) -> None:
    frames = everything(raw(tmp_path / "noise", "nv12", (8, 8), (8, 8), (8, 4), f"colorimetry={colours}"))
    assert [(it.pixels.matrix, it.pixels.range) for it in frames if isinstance(it.pixels, Yuv)] == [
        (matrix, levels)
    ] * COUNT


def test_other_formats_are_converted() -> None:
    needs("videotestsrc")
    for form in ("YUY2", "RGB", "Y42B", "RGBx", "P010_10LE"):
        frames = everything(f"videotestsrc num-buffers=2 pattern=red ! video/x-raw,format={form},width=61,height=45")
        assert [frame.size for frame in frames] == [(45, 61)] * 2
        for frame in frames:
            blue, green, red = frame.bgr()[22, 30].tolist()
            assert blue < 10 and green < 10 and red > 245, form


def test_an_appsink_of_ones_own() -> None:
    needs("videotestsrc")
    text = "videotestsrc num-buffers=2 ! video/x-raw,format={},width=8,height=4 ! appsink name=lineside sync=false"
    assert [frame.size for frame in everything(text.format("BGR"))] == [(4, 8)] * 2
    with (
        pytest.raises(SourceError, match="pictures in RGB; put a decoder and 'videoconvert' before"),
        opened(text.format("RGB")),
    ):
        pass


def test_padded_rows_of_a_decoder_are_not_copied(tmp_path: Path) -> None:
    needs("avdec_h264", "h264parse")
    frames = everything(file(str(encoded(tmp_path / "a.mp4", size="336x256", codec="libx264"))))
    assert len(frames) == 25
    planes = [frame.pixels.planes for frame in frames if isinstance(frame.pixels, Yuv)]
    assert len(planes) == 25 and all(luma.strides[0] > 336 for luma, *_ in planes)


def test_frames_outlive_their_pipeline(tmp_path: Path) -> None:
    recipe = raw(tmp_path / "noise", "bgr", (9, 12), (40,), (9,))
    source = opened(recipe)
    with source as it:
        frames = [(frame, np.array(frame.pixels)) for frame in it.frames()]
    del source, it
    gc.collect()
    assert len(frames) == COUNT
    for frame, before in frames:
        assert np.array_equal(frame.bgr(), before)
        frame.release()
        assert frame.pixels is None


def test_frames_that_are_held_stay_as_they_are() -> None:
    """The source goes on meanwhile, with other buffers."""
    needs("videotestsrc")
    with opened("videotestsrc pattern=snow num-buffers=40 ! video/x-raw,format=NV12,width=32,height=16") as source:
        held = []
        for number, frame in enumerate(source.frames()):
            if number < 8:
                held.append((frame, frame.bgr().copy()))
            else:
                frame.release()
        assert len({before.tobytes() for _, before in held}) == 8
        for frame, before in held:
            assert isinstance(frame.pixels, Yuv) and np.array_equal(frame.pixels.to_bgr(), before)


@pytest.mark.parametrize("form", ["BGR", "I420"])
def test_a_device_gets_its_few_buffers_back(form: str) -> None:
    """Beyond its loans a source copies, and lends again as soon as pictures have come back."""
    needs("videotestsrc")

    def lent(frame: object) -> bool:
        pixels = frame.pixels  # type: ignore[attr-defined]
        return not (pixels.planes[0] if isinstance(pixels, Yuv) else pixels).flags.owndata

    text = f"videotestsrc pattern=snow num-buffers=8 ! video/x-raw,format={form},width=32,height=16"
    with opened(Recipe(text, "snow", False, loans=2)) as source:
        frames = source.frames()
        first = [next(frames) for _ in range(4)]
        pictures = [frame.bgr().copy() for frame in first]
        assert [lent(frame) for frame in first] == [True, True, False, False]
        for frame in first[:2]:
            frame.release()
        assert [lent(next(frames)) for _ in range(2)] == [True, True]
        assert len({it.tobytes() for it in pictures}) == 4
        assert all(np.array_equal(frame.bgr(), it) for frame, it in zip(first[2:], pictures[2:], strict=True))
