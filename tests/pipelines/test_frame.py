"""Frames whose pictures are luma and chroma: converted once, into memory that is used again, for whoever needs pixels."""

from __future__ import annotations

import threading
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import lineside
from helpers.elements import Keep, Work
from helpers.media import picture as discs
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.graph import Graph
from lineside.pipelines.looks import Feed, Look, Way
from lineside.pipelines.pool import BufferPool
from lineside.pipelines.runner import Runner
from lineside.pipelines.segment import Segment
from lineside.pipelines.sinks import make_sink
from lineside.pipelines.sinks.images import Images
from lineside.pipelines.sources.memory import Memory
from lineside.pipelines.transforms.overlay import Draw, Drawing
from lineside.pipelines.transforms.roi import Region, Roi
from lineside.pipelines.view.encoder import Shot, encode
from lineside.runtime.detections import Detections
from lineside.runtime.errors import BadFrame
from lineside.runtime.yuv import Yuv


def yuv(height: int = 37, width: int = 51, seed: int = 0) -> Yuv:
    rng = np.random.default_rng(seed)
    count = height * width + 2 * ((height + 1) // 2) * ((width + 1) // 2)
    return Yuv.from_buffer(rng.integers(0, 256, count, np.uint8), "NV12", (height, width), matrix="bt709")


def nothing(size: tuple[int, int]) -> Detections:
    return Detections(
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        classes=np.zeros(0, np.int32),
        anchors=np.zeros(0, np.int32),
        masks=None,
        names=("part",),
        image_size=size,
    )


def test_a_frame_has_the_size_of_its_picture_and_keeps_it() -> None:
    frame = Frame(yuv(), pool=BufferPool())
    assert frame.size == (37, 51)
    frame.release()
    assert frame.size == (37, 51) and frame.pixels is None


def test_arrays_are_given_as_they_are() -> None:
    for pixels in (np.zeros((3, 4, 3), np.uint8), np.zeros((3, 4), np.uint8)):
        assert Frame(pixels).bgr() is pixels


@pytest.mark.parametrize("pool", [None, BufferPool()], ids=["no pool", "pool"])
def test_all_who_draw_share_one_conversion(pool: BufferPool | None) -> None:
    picture = yuv()
    frame = Frame(picture, pool=pool)
    start = threading.Barrier(4)
    got: list[Any] = []

    def draw() -> None:
        start.wait()
        got.append(frame.bgr())

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4 and all(pixels is got[0] for pixels in got)
    np.testing.assert_array_equal(got[0], picture.to_bgr())


def test_forks_share_the_conversion_and_its_life() -> None:
    pool, picture = BufferPool(), yuv()
    frame = Frame(picture, pool=pool)
    fork = frame.fork()
    grandchild = fork.fork()
    pixels = grandchild.bgr()
    assert fork.bgr() is pixels and frame.bgr() is pixels
    frame.show(np.zeros((2, 3, 3), np.uint8))  # cut down for its own way: the others still see the whole picture
    assert frame.bgr().shape == (2, 3, 3) and fork.bgr() is pixels
    frame.release()
    fork.release()
    assert grandchild.bgr() is pixels and Frame(yuv(seed=1), pool=pool).bgr() is not pixels
    grandchild.release()
    assert Frame(yuv(seed=2), pool=pool).bgr() is pixels, "used again once the last fork has let go"


def test_a_frame_that_is_kept_keeps_no_picture_once_it_is_released() -> None:
    """A camera's buffer goes back with the last view of it."""
    picture = yuv()
    gone = weakref.ref(picture)
    frame = Frame(picture)
    fork = frame.fork()
    fork.bgr()
    del picture
    fork.release()
    assert gone() is not None
    frame.release()
    assert gone() is None


def test_a_station_converts_each_frame_once_however_many_draw(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two models, one of them behind a region, each with two sinks that draw on a copy, and a sink without any model."""
    converted: list[int] = []
    plain = Yuv.to_bgr

    def counted(self: Yuv, out: Any = None) -> Any:
        converted.append(id(self))
        return plain(self, out)

    pictures = [yuv(40, 60, seed) for seed in range(5)]
    monkeypatch.setattr(Yuv, "to_bgr", counted)
    runner = Runner()
    runner.add_source("top", Memory(pictures, 5))
    drawn: dict[str, int] = {}

    def see(frame: Frame, name: str) -> None:
        drawn[name] = drawn.get(name, 0) + int(frame.bgr().shape in ((40, 60, 3), (20, 30, 3)))

    names = ["a", "b", "c", "d", "plain"]
    for name in names:
        runner.add_sink(Keep(name, gate=partial(see, name=name)))
    for model, before, sinks in (("m", [], names[:2]), ("n", [Roi(Region(crop="0,0,30,20"))], names[2:4])):
        runner.add_model(model, Work())
        chain = [Draw(Drawing())]
        runner.add_look(Look("top", model, [Way(name, chain=chain) for name in sinks], before=before))
    runner.add_feed(Feed("top", [Way("plain")]))
    runner.start()
    assert runner.join(120)
    assert drawn == dict.fromkeys(names, 5)
    assert sorted(converted) == sorted(map(id, pictures)), "each picture once"


def test_pixels_last_until_the_last_holder_lets_go_and_are_then_used_again() -> None:
    pool, back = BufferPool(), []
    picture = yuv()
    frame = Frame(picture, pool=pool, recycle=back.append)
    frame.hold()
    pixels = frame.bgr()
    frame.release()
    assert frame.bgr() is pixels and not back
    another = Frame(yuv(seed=1), pool=pool)
    assert another.bgr() is not pixels
    frame.release()
    assert back == [picture]
    third = Frame(yuv(seed=2), pool=pool)
    assert third.bgr() is pixels
    np.testing.assert_array_equal(pixels, yuv(seed=2).to_bgr())


def test_a_frame_without_pixels_says_so() -> None:
    with pytest.raises(BadFrame, match="no pixels"):
        Frame(None, error="cannot read it").bgr()
    frame = Frame(yuv())
    frame.bgr()
    frame.release()
    with pytest.raises(BadFrame, match="given back"):
        frame.bgr()


def test_pictures_are_saved_and_shown_as_their_pixels(tmp_path: Path) -> None:
    picture = yuv(96, 128)
    shown = []
    for name, pixels in (("a", picture), ("b", picture.to_bgr())):
        frame = Frame(pixels, source="camera")
        frame.sequence, frame.detections = 0, nothing(frame.size)
        sink = Images(tmp_path / name)
        sink.open(StreamInfo("camera", "camera"))
        sink.write(frame)
        sink.close()
        shown.append(encode(Shot(0, frame, frame.detections, dict)))
    first, second = (cv2.imread(str(next((tmp_path / name).iterdir()))) for name in "ab")
    assert first is not None and first.shape == (96, 128, 3)
    np.testing.assert_array_equal(first, second)
    assert shown[0] == shown[1]


def test_a_line_finds_saves_and_films_the_same_as_in_pixels(bundle: Path, tmp_path: Path) -> None:
    decoded = [
        Yuv.from_buffer(cv2.cvtColor(discs((96, 128), k), cv2.COLOR_BGR2YUV_I420), "I420", (96, 128)) for k in range(3)
    ]
    found: dict[str, list[Any]] = {}
    for name, pictures in (("yuv", decoded), ("pixels", [picture.to_bgr() for picture in decoded])):
        seen = found[name] = []
        folder = tmp_path / name
        sinks = [
            Keep(gate=lambda frame, seen=seen: seen.append(frame.detections)),
            Images(folder / "images"),
            make_sink("video", folder),
        ]
        Graph(Memory(pictures, 6), Segment(lineside.load(bundle)), sinks).run()
    assert len(found["yuv"]) == 6 and all(len(detections) for detections in found["yuv"])
    for ours, wanted in zip(found["yuv"], found["pixels"], strict=True):
        np.testing.assert_array_equal(ours.boxes, wanted.boxes)
        np.testing.assert_array_equal(ours.masks[0].to_array(), wanted.masks[0].to_array())
    images = [sorted((tmp_path / name / "images").iterdir()) for name in ("yuv", "pixels")]
    assert [path.name for path in images[0]] == [path.name for path in images[1]] and len(images[0]) == 6
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*images, strict=True))
    films = [cv2.VideoCapture(str(tmp_path / name / "overlay.mp4")) for name in ("yuv", "pixels")]
    for _ in range(6):
        (good, ours), (_, wanted) = (film.read() for film in films)
        assert good
        np.testing.assert_array_equal(ours, wanted)


def test_what_a_jam_has_piled_up_is_given_back_to_the_system() -> None:
    pool = BufferPool()
    lent = [pool.take((8, 8)) for _ in range(100)]
    known = {id(pixels) for pixels in lent}
    for pixels in lent:
        pool.give(pixels)
    again = [pool.take((8, 8)) for _ in range(100)]
    assert 0 < sum(id(pixels) in known for pixels in again) <= 16
