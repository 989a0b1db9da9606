"""Video that plays although somebody was cut off, read back by OpenCV."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.sinks.boxes import whole_fragments, whole_jpegs
from lineside.pipelines.sinks.ffmpeg import find_ffmpeg
from lineside.pipelines.sinks.film import Film, FilmFile, make
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.reels import Fragments
from lineside.runtime.errors import SinkError

FPS = 10
STREAM = StreamInfo("top", "video", fps=FPS)
LIVE = StreamInfo("top", "camera", live=True, fps=FPS)

missing = pytest.mark.skipif(find_ffmpeg() is None, reason="needs the program ffmpeg with an H.264 encoder")
CODECS = [pytest.param("h264", marks=missing), "mjpeg"]


def numbered(number: int, size: tuple[int, int] = (48, 64)) -> Frame:
    """A frame whose grey value says its number."""
    frame = Frame(np.full((*size, 3), 5 * (number % 45) + 3, np.uint8), source="top", pts=number / FPS)
    frame.sequence = number
    return frame


def film(folder: Path, codec: str, **more: Any) -> Film:
    return make(FilmFile(path="f.mp4", codec=codec, floor="0B", **more), Place(folder, "film", Bus()))


def played(path: Path) -> list[int]:
    """Numbers of the frames of a video, by their grey values, which H.264 and OpenCV shift by up to three."""
    capture, found = cv2.VideoCapture(str(path)), []
    while (got := capture.read())[0]:
        found.append(int((got[1].mean() + 0.7) // 5))
    capture.release()
    return found


@pytest.mark.parametrize("codec", CODECS)
def test_segments_of_a_video_play_by_themselves(tmp_path: Path, codec: str) -> None:
    sink = film(tmp_path, codec, rotate_size="1500B" if codec == "h264" else "9kB")
    sink.open(STREAM)
    for number in range(45):
        sink.write(numbered(number))
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) > 2 and {it.suffix for it in files} == {".mp4" if codec == "h264" else ".mjpeg"}
    parts = [played(it) for it in sorted(files, key=lambda it: (it.stem.count("-"), len(it.name), it.name))]
    assert sorted(it for them in parts for it in them) == list(range(45))
    assert all(them == list(range(them[0], them[0] + len(them))) for them in parts)


@pytest.mark.parametrize("codec", CODECS)
def test_a_video_may_end_at_any_byte(tmp_path: Path, codec: str) -> None:
    sink = film(tmp_path, codec)
    sink.open(STREAM)
    for number in range(40):
        sink.write(numbered(number))
    sink.close()
    (path,) = tmp_path.iterdir()
    data, rng = path.read_bytes(), random.Random(0)
    whole: Callable[[Path], int] = whole_fragments if codec == "h264" else whole_jpegs
    cut = tmp_path / f"cut{path.suffix}"
    lengths = set()
    for end in [*sorted(rng.sample(range(len(data)), 60)), len(data)]:
        cut.write_bytes(data[:end])
        lengths.add(length := whole(cut))
        assert length <= end
        if rng.random() < 0.3 and length:
            cut.write_bytes(data[:length])
            found = played(cut)
            assert found and found == list(range(len(found)))
    assert max(lengths) == len(data) or codec == "h264"
    assert len(lengths) > 4
    torn, place = bytearray(data), len(data) * 3 // 4
    torn[place : place + 512] = bytes(512)
    cut.write_bytes(torn)
    assert 0 < whole(cut) <= place


@pytest.mark.parametrize("codec", CODECS)
def test_a_live_source_that_skips_frames_keeps_its_time(tmp_path: Path, codec: str) -> None:
    sink = film(tmp_path, codec)
    sink.open(LIVE)
    for number in (0, 1, 2, 6, 7, 40, 41, 3, 4):
        sink.write(numbered(number))
    sink.close()
    (path,) = tmp_path.iterdir()
    assert played(path) == [0, 1, 2, 6, 6, 6, 6, 7, 40, 41, 3, 4], "a short gap stands still, a long one is cut out"


@pytest.mark.parametrize("codec", CODECS)
def test_another_size_is_fitted_into_the_first(tmp_path: Path, codec: str) -> None:
    sink = film(tmp_path, codec)
    sink.open(STREAM)
    for number in range(6):
        sink.write(numbered(number, (48, 64) if number < 3 else (96, 128)))
    sink.close()
    (path,) = tmp_path.iterdir()
    assert played(path) == list(range(6))


@missing
def test_an_encoder_that_dies_is_started_anew(tmp_path: Path) -> None:
    real = find_ffmpeg()
    assert real is not None
    program = tmp_path / "ffmpeg"
    program.write_text(f'#!/bin/sh\nif mkdir "{tmp_path}/once" 2>/dev/null; then exit 3; fi\nexec {real[0]} "$@"\n')
    program.chmod(0o755)
    folder = tmp_path / "out"
    sink = Film(Fragments(folder / "f.mp4", Rules(), (str(program), real[1])))
    sink.open(STREAM)
    refused = 0
    for number in range(3000):
        try:
            sink.write(numbered(number % 40, (240, 320)))
        except SinkError as error:
            refused += 1
            assert "ffmpeg has ended" in str(error)
        if refused and number % 40 == 39:
            break
    sink.close()
    assert refused == 1
    (path,) = folder.iterdir()
    assert played(path)[-1] == 39


@missing
def test_no_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SinkError, match="codec=mjpeg"):
        film(tmp_path, "h264")
    sink = film(tmp_path, "auto")
    sink.open(STREAM)
    sink.write(numbered(1))
    sink.close()
    assert played(tmp_path / "f.mjpeg") == [1]


@pytest.mark.parametrize(("said", "kept"), [(0.01, 1), (5, 5), (120, 120), (10_000, 120), (None, 25)])
def test_a_live_film_has_a_rate_that_can_be_shown(said: float | None, kept: float) -> None:
    """Of a source that says it gives ten thousand a second, a slow model's picture would stand there hundreds of times."""

    class Rates:
        count = 0

        def open(self, fps: float) -> None:
            self.fps = fps

    reel: Any = Rates()
    Film(reel, timed=True).open(StreamInfo("top", "camera", live=True, fps=said))
    assert reel.fps == kept
    Film(reel, timed=True).open(StreamInfo("top", "video", fps=said))
    assert reel.fps == (said or 25)
    Film(reel, fps=300, timed=True).open(StreamInfo("top", "camera", live=True, fps=said))
    assert reel.fps == 300
