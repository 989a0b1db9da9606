"""Sources read real files, name what they cannot read, and go on."""

from __future__ import annotations

import gc
import shutil
import subprocess
import threading
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.elements import Keep, Work
from helpers.media import picture, pictures, video
from lineside.pipelines.elements import Source
from lineside.pipelines.frame import CAPTURE, READ, TRIGGER, Frame
from lineside.pipelines.graph import Graph
from lineside.pipelines.link import Policy
from lineside.pipelines.pool import BufferPool
from lineside.pipelines.sources import make_source
from lineside.pipelines.sources.find import Found, find
from lineside.pipelines.sources.memory import Memory, synthetic
from lineside.pipelines.sources.paced import Paced, Playback
from lineside.pipelines.sources.pictures import read_picture
from lineside.runtime.errors import SourceError


def frames(*words: str | Path) -> list[Frame]:
    source = make_source(find([str(word) for word in words]))
    source.open()
    try:
        return list(source.frames())
    finally:
        source.close()


# ---------------------------------------------------------------------------------------------------------------- find


def test_a_folder_gives_its_pictures_and_videos_sorted(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.mp4", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "deep.png").touch()
    assert [Path(it.what).name for it in find([str(tmp_path)])] == ["a.png", "b.JPG", "c.mp4"]
    assert [Path(it.what).name for it in find([f"{tmp_path}/**/*.png"])] == ["a.png", "deep.png"]
    assert [it.kind for it in find([str(tmp_path / "c.mp4"), "0", "synthetic:64x48"])] == [
        "video",
        "camera",
        "synthetic",
    ]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("nowhere.png", "there is no file"),
        ("*.nothing", "matches no picture"),
        ("empty", "holds no picture"),
        ("notes.txt", "neither a picture nor a video"),
        ("rtsp://user:secret@camera/1", 'a rtsp address.*lineside launch "rtsp url='),
        ("99999999999", "there is no file, folder or camera"),
        ("synthetic:0x64", "there is no file, folder or camera"),
    ],
)
def test_words_that_stand_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SourceError, match=reason) as caught:
        find([word])
    assert "secret" not in str(caught.value)
    with pytest.raises(SourceError, match="no source given"):
        find([])


# ------------------------------------------------------------------------------------------------------------ pictures


def test_pictures_of_mixed_sizes(tmp_path: Path) -> None:
    sizes = [(40, 60), (1, 1), (300, 20), (480, 640)]
    paths = pictures(tmp_path, sizes)
    got = frames(tmp_path)
    assert [frame.size for frame in got] == sizes
    assert [frame.name for frame in got] == [str(path) for path in paths]
    for k, frame in enumerate(got):
        np.testing.assert_array_equal(frame.pixels, picture(sizes[k], k))
        assert frame.clock[READ] >= frame.clock[CAPTURE] > 0


def test_an_unreadable_picture_is_a_failed_frame_and_the_rest_goes_on(tmp_path: Path) -> None:
    _, bad, _ = pictures(tmp_path, [(8, 8)] * 3)
    bad.write_bytes(b"\x89PNG no picture at all")
    got = frames(tmp_path)
    assert [frame.error is None for frame in got] == [True, False, True]
    assert str(bad) in str(got[1].error) and got[1].pixels is None and got[1].size == (0, 0)


@pytest.mark.parametrize(
    ("keep", "reason"),
    [(0, "empty"), (1, "damaged"), (100, "damaged"), (2000, "cut off"), (-1, "cut off"), (-40, "cut off")],
)
def test_a_picture_that_is_cut_off_is_not_inspected(tmp_path: Path, keep: int, reason: str) -> None:
    path = tmp_path / "cut.jpg"
    assert cv2.imwrite(str(path), picture((200, 200)))
    data = path.read_bytes()
    assert read_picture(path).shape == (200, 200, 3)
    path.write_bytes(data[:keep])
    with pytest.raises(SourceError, match=reason):
        read_picture(path)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "trailer.jpg"
    assert cv2.imwrite(str(path), picture((50, 60)))
    path.write_bytes(path.read_bytes() + b"\0" * 5000)
    assert read_picture(path).shape == (50, 60, 3)


def test_grey_and_transparent_pictures_become_bgr(tmp_path: Path) -> None:
    for channels, name in ((1, "grey.png"), (4, "clear.png")):
        image = np.full((5, 6, channels), 200, np.uint8)
        assert cv2.imwrite(str(tmp_path / name), image)
        assert read_picture(tmp_path / name).shape == (5, 6, 3)


# -------------------------------------------------------------------------------------------------------------- videos


def test_a_video_gives_every_frame_with_its_time(tmp_path: Path) -> None:
    got = frames(video(tmp_path / "v.mp4", frames=30))
    assert len(got) == 30 and all(frame.error is None for frame in got)
    np.testing.assert_allclose([frame.pts for frame in got], np.arange(30) / 25, atol=1e-3)
    brightness = [float(frame.pixels[:6].mean()) for frame in got]  # type: ignore[index]
    np.testing.assert_allclose(brightness, 4 * np.arange(30), atol=6)


def test_a_video_is_decoded_into_few_buffers(tmp_path: Path) -> None:
    seen: set[int] = set()
    keep = Keep(gate=lambda frame: seen.add(frame.pixels.ctypes.data))  # type: ignore[union-attr]
    source = make_source(find([str(video(tmp_path / "v.mp4", frames=200))]))
    graph = Graph(source, Work(lanes=2), [keep])
    graph.run()
    assert len(keep.frames) == 200
    # Queue 4, lanes and results that wait for their turn 2 x 4, sink queue 4, one each in the hands of source, sink and
    # the thread that hands results on, the first one from the decoder.
    assert len(seen) <= 20


def test_buffers_of_another_shape_are_forgotten() -> None:
    pool = BufferPool()
    first = pool.take((4, 4, 3))
    pool.give(first)
    assert pool.take((4, 4, 3)) is first
    other = pool.take((2, 2, 3))
    pool.give(first)
    pool.give(other)
    assert pool.take((2, 2, 3)) is other
    assert pool.take((2, 2, 3)) is not first


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
def test_a_video_that_breaks_off_says_where(tmp_path: Path) -> None:
    whole = tmp_path / "whole.mp4"
    command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-t", "4"]
    # The index comes first, so that the beginning plays without the end.
    command += ["-c:v", "mpeg4", "-g", "5", "-movflags", "+faststart", str(whole)]
    subprocess.run(command, check=True)
    assert len(frames(whole)) == 100
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    got = frames(cut)
    assert 20 < len(got) < 80 and all(frame.error is None for frame in got[:-1])
    assert got[-1].error == f"the video breaks off after {len(got) - 1} of 100 frames"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
def test_a_video_of_varying_rate_is_whole_and_may_break_off(tmp_path: Path) -> None:
    """Matroska says how long it is, and OpenCV makes a number of frames of that and the mean rate."""
    whole = tmp_path / "varying.mkv"
    command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=4"]
    command += ["-vf", "select='lt(n,20)+not(mod(n,3))'", "-vsync", "vfr", "-c:v", "mpeg4", str(whole)]
    subprocess.run(command, check=True)
    got = frames(whole)
    assert len(got) == 20 + 27 and all(frame.error is None for frame in got)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    got = frames(cut)
    assert 5 < len(got) < 40 and f"breaks off after {len(got) - 1} of" in str(got[-1].error)


def test_a_video_that_was_closed_keeps_no_buffers(tmp_path: Path) -> None:
    source = make_source(find([str(video(tmp_path / "v.mp4", frames=20))]))
    source.open()
    seen = []
    for frame in source.frames():
        seen.append(weakref.ref(frame.pixels))  # type: ignore[arg-type]
        frame.release()
    del frame
    source.close()
    gc.collect()
    assert len(seen) == 20 and not [it for it in seen if it() is not None]


@pytest.mark.parametrize("content", [b"", b"no video at all", None])
def test_a_file_that_is_no_video(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "v.mp4"
    if content is None:  # A real video without its index: what is left when a recorder is switched off.
        path.write_bytes(video(tmp_path / "whole.mp4").read_bytes()[:2000])
    else:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=str(path)):
        make_source([Found("video", str(path))]).open()


def test_several_sources_one_after_the_other_survive_a_bad_one(tmp_path: Path) -> None:
    first = video(tmp_path / "1.mp4", frames=5)
    bad = tmp_path / "2.mp4"
    bad.write_bytes(b"no video")
    pictures(tmp_path / "3", [(10, 10), (20, 20)])
    got = frames(first, bad, tmp_path / "3")
    assert [frame.error is None for frame in got] == [True] * 5 + [False] + [True] * 2
    assert got[5].name == str(bad) and got[0].source == str(first)


def test_a_camera_is_run_by_itself(tmp_path: Path) -> None:
    pictures(tmp_path, [(10, 10)])
    for words in (["0", "1"], [str(tmp_path), "0"]):
        with pytest.raises(SourceError, match="a camera has no end"):
            make_source(find(words))


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(SourceError, match="cannot open camera 63"):
        make_source(find(["63"])).open()


# -------------------------------------------------------------------------------------------------------------- memory


def test_memory_hands_out_the_same_arrays_round_and_round() -> None:
    arrays = [np.zeros((2, 3, 3), np.uint8), np.ones((2, 3, 3), np.uint8)]
    source = Memory(arrays, 5)
    assert source.open().frames == 5
    got = list(source.frames())
    assert [frame.pixels is arrays[k % 2] for k, frame in enumerate(got)] == [True] * 5
    with pytest.raises(SourceError):
        Memory([]).open()


def test_synthetic_frames_repeat_with_their_seed() -> None:
    one, same, other = (next(iter(synthetic((8, 9), 1, seed=seed).frames())).pixels for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------------- paced


class Clock:
    """A clock that only moves when somebody sleeps, and then a little too far."""

    def __init__(self, overshoot: int = 3) -> None:
        self.now = 1000
        self.overshoot = overshoot

    def __call__(self) -> int:
        return self.now

    def sleep(self, event: threading.Event, seconds: float) -> None:
        self.now += round(seconds * 1e9) + self.overshoot


def paced(source: Source, clock: Clock, takt: int = 100) -> Paced:
    made = Paced(source, takt, now=clock, sleep=clock.sleep)
    assert made.open().live
    return made


def test_triggers_are_fixed_in_advance() -> None:
    clock = Clock()
    got = list(paced(Memory([np.zeros((1, 1, 3), np.uint8)], 5), clock).frames())
    assert [frame.clock[TRIGGER] for frame in got] == [1000, 1100, 1200, 1300, 1400]
    assert [frame.clock[CAPTURE] - frame.clock[TRIGGER] for frame in got] == [0, 3, 3, 3, 3]
    assert [round(frame.pts * 1e9) for frame in got] == [0, 100, 200, 300, 400]


def test_a_part_that_is_held_back_keeps_its_trigger_and_delays_no_other() -> None:
    clock = Clock(overshoot=0)
    lags = []
    for number, frame in enumerate(paced(Memory([np.zeros((1, 1, 3), np.uint8)], 6), clock).frames()):
        lags.append(frame.clock[CAPTURE] - frame.clock[TRIGGER])
        if number == 1:
            clock.now += 250  # The graph kept the source waiting.
    assert lags == [0, 0, 150, 50, 0, 0]


def test_stopping_wakes_a_source_that_waits_for_its_trigger() -> None:
    source = Paced(Memory([np.zeros((1, 1, 3), np.uint8)]), 3600 * 10**9)
    graph = Graph(source, Work(), [Keep()], policy=Policy("latest"))
    graph.start()
    assert graph.close(drain=30)
    assert graph.flow.counters.snapshot().balanced


def test_playback_keeps_to_the_times_of_the_video(tmp_path: Path) -> None:
    clock = Clock(overshoot=0)
    video(tmp_path / "v.mp4", frames=4)
    source = make_source(find([str(tmp_path / "v.mp4"), str(tmp_path / "v.mp4")]))
    playback = Playback(source, now=clock, sleep=clock.sleep)
    assert not playback.open().live
    times = [clock.now - 1000 for _ in playback.frames()]
    np.testing.assert_allclose(np.array(times) / 1e6, [0, 40, 80, 120, 120, 160, 200, 240], atol=1)
