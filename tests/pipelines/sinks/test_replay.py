"""Sessions that were recorded are played again."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from helpers.inspected import inspected
from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.frame import CAPTURE, READ, Frame
from lineside.pipelines.sinks.lasting import Rules
from lineside.pipelines.sinks.record import Record, Session
from lineside.pipelines.sinks.record import make as make_record
from lineside.pipelines.sources.paced import Playback
from lineside.pipelines.sources.replay import Replay, Replayed, make
from lineside.runtime.errors import SinkError, SourceError
from lineside.runtime.yuv import Yuv

STREAM = StreamInfo("top", "camera", live=True, fps=25.0)


def recorded(folder: Path, frames: list[Frame], **more: str) -> Path:
    sink = make_record(Session(path="s", floor="0B", **more), Place(folder, "", Bus()))
    sink.open(STREAM)
    for frame in frames:
        sink.write(frame)
    sink.close()
    return folder / "s"


def test_frames_come_back_with_all_that_travelled_with_them(tmp_path: Path) -> None:
    frames = [inspected(number) for number in range(4)]
    frames[1].missed, frames[1].note = 3, "two pages"
    frames[2].damage = "5 packets lost"
    recorded(tmp_path, frames)
    source = make(Replayed(path="s", pace="fast"), Place(tmp_path, "", Bus()))
    info = source.open()
    assert (info.frames, info.size, info.fps, info.live) == (4, (48, 64), 1.0, False)
    for frame, again in zip(frames, source.frames(), strict=True):
        for name in ("source", "name", "pts", "wall", "trigger", "part", "encoder", "missed", "damage", "note", "size"):
            assert getattr(again, name) == getattr(frame, name), name
        np.testing.assert_array_equal(again.pixels, frame.pixels)
        assert again.clock[CAPTURE] <= again.clock[READ] and again.sequence == -1 and again.detections is None


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (1, 1), (5, 4)])
@pytest.mark.parametrize("kind", ["NV12", "I420"])
def test_luma_and_chroma_are_recorded_as_they_came(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    rows, columns = (size[0] + 1) // 2, (size[1] + 1) // 2
    chroma = [(rows, columns, 2)] if kind == "NV12" else [(rows, columns)] * 2
    # Rows of a camera's memory are longer than the picture.
    wide = [rng.integers(0, 256, (shape[0], shape[1] + 5, *shape[2:]), np.uint8) for shape in (size, *chroma)]
    planes = tuple(it[:, : shape[1]] for it, shape in zip(wide, (size, *chroma), strict=True))
    picture = Yuv(kind, planes, "bt709", "full")  # type: ignore[arg-type]
    folder = recorded(tmp_path, [Frame(picture, source="top")])
    source = Replay(folder)
    source.open()
    (again,) = source.frames()
    assert isinstance(again.pixels, Yuv)
    assert (again.pixels.format, again.pixels.matrix, again.pixels.range) == (kind, "bt709", "full")
    for plane, expected in zip(again.pixels.planes, planes, strict=True):
        np.testing.assert_array_equal(plane, expected)


def test_an_own_pace_is_that_of_the_recording(tmp_path: Path) -> None:
    frames = [inspected(number) for number in range(4)]
    for frame, pts in zip(frames, (10.0, 10.5, 12.0, 12.25), strict=True):
        frame.pts = pts
    folder = recorded(tmp_path, frames)
    source = make(Replayed(path=str(folder)), Place())
    assert isinstance(source, Playback) and source.open().live
    clock = [1_000]

    def sleep(stop: threading.Event, seconds: float) -> None:
        clock[0] += round(seconds * 1e9)

    paced = Playback(Replay(folder, live=True), now=lambda: clock[0], sleep=sleep)
    paced.open()
    times = [(clock[0] - 1000) / 1e9 for _ in paced.frames()]
    assert times == pytest.approx([0, 0.5, 2.0, 2.25])


def test_a_replay_that_waits_is_woken_by_a_stop(tmp_path: Path) -> None:
    frames = [inspected(number) for number in range(2)]
    frames[1].pts = 3600.0
    source = make(Replayed(path=str(recorded(tmp_path, frames))), Place())
    source.open()
    came, done = threading.Event(), threading.Event()

    def play() -> None:
        for _ in source.frames():
            came.set()
        done.set()

    threading.Thread(target=play, daemon=True).start()
    assert came.wait(60)
    source.stop()
    assert done.wait(60)


def test_sessions_of_several_starts_are_one(tmp_path: Path) -> None:
    for start in range(3):
        folder = recorded(tmp_path, [inspected(10 * start + number) for number in range(3)])
    source = Replay(folder)
    assert source.open().frames == 9
    assert [round(it.pts) for it in source.frames()] == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    one = Replay(sorted(folder.iterdir())[1])
    assert one.open().frames == 3 and [it.trigger for it in one.frames()] == [10, 11, 12]


@pytest.mark.parametrize("harm", ["cut", "altered", "gone", "another picture"])
def test_a_picture_that_is_not_whole_is_left_out_and_told(tmp_path: Path, harm: str) -> None:
    folder = recorded(tmp_path, [inspected(number) for number in range(3)])
    picture = next(folder.rglob("0000001.png"))
    data = picture.read_bytes()
    if harm == "gone":
        picture.unlink()
    elif harm == "another picture":
        picture.write_bytes(picture.with_name("0000002.png").read_bytes())
    else:
        picture.write_bytes(data[:-9] if harm == "cut" else data[:60] + bytes([data[60] ^ 1]) + data[61:])
    bus, events = Bus(), list[Event]()
    bus.listen(events.append)
    source = make(Replayed(path=str(folder), pace="fast"), Place(bus=bus))
    source.open()
    assert [it.trigger for it in source.frames()] == [0, 2]
    assert [it.kind for it in events] == ["not whole"] and "1 frames" in events[0].message


@pytest.mark.parametrize("there", ["nothing", "empty", "other"])
def test_what_is_no_session_is_said(tmp_path: Path, there: str) -> None:
    folder = tmp_path / "s"
    if there != "nothing":
        folder.mkdir()
    if there == "other":
        (folder / "a.png").write_bytes(b"x")
    with pytest.raises(SourceError, match="no recorded frames"):
        Replay(folder).open()


def test_two_cannot_record_to_the_same_place_at_once(tmp_path: Path) -> None:
    sink = Record(tmp_path, Rules())
    sink.open(STREAM)
    sink.write(inspected(0))
    with pytest.raises(SinkError, match="another process records"):
        Record(tmp_path, Rules()).open(STREAM)
    sink.write(inspected(1))
    sink.close()
    source = Replay(tmp_path)
    assert source.open().frames == 2 and len(list(source.frames())) == 2
