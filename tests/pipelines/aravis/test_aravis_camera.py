"""A simulated GigE Vision camera on the loopback: pictures, formats, settings, triggers, buffers."""

from __future__ import annotations

import itertools
import os
import threading
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from helpers.industrial import HERE, SMALL, device, opened, some, until, whole
from lineside.pipelines.aravis.camera import Settings
from lineside.pipelines.aravis.source import AravisSource
from lineside.pipelines.catalog import Place, options_of
from lineside.pipelines.frame import CAPTURE, READ, TRIGGER, Pixels
from lineside.pipelines.watch.isolated import Isolated
from lineside.runtime.errors import SourceError

SOFTWARE = replace(SMALL, fps=None, trigger="software")


def is_ramp(pixels: Pixels) -> bool:
    """Whether it is the simulator's picture, which has the same value all along a diagonal."""
    return bool((pixels[1:, :-1] == pixels[:-1, 1:]).all()) and pixels.shape == (48, 64)


def test_pictures_come_with_their_times() -> None:
    before = time.time()
    with device(), opened() as source:
        assert some(source, 1)[0].pts == 0.0
        frames = whole(source, 8)
        assert [(frame.size, frame.error, frame.trigger) for frame in frames] == [((48, 64), None, None)] * 8
        for frame in frames:
            assert isinstance(frame.pixels, np.ndarray) and is_ramp(frame.pixels)
            assert frame.clock[CAPTURE] <= frame.clock[READ] and before <= frame.wall <= time.time()
        captured = [frame.clock[CAPTURE] for frame in frames]
        assert captured == sorted(captured)
        with pytest.raises(ValueError, match="read-only"):
            frames[0].bgr()[0, 0] = 1
        times = [frame.pts for frame in frames]
        assert times[0] > 0.0 and times == sorted(set(times))
        # The camera's clock is that of this machine, so both tell the same; what they time lies in one process.
        assert times[-1] - times[0] == pytest.approx((captured[-1] - captured[0]) / 1e9, abs=1.0)


def test_what_the_stream_says_about_itself() -> None:
    with device():
        source = AravisSource(HERE, SMALL, name="top")
        stream = source.open()
        source.close()
    assert (stream.name, stream.kind, stream.live, stream.size, stream.fps) == ("top", "camera", True, (48, 64), 25.0)
    assert not stream.waits


@pytest.mark.parametrize("kind", ["BayerRG8", "BayerGR8", "BayerGB8", "BayerBG8", "RGB8"])
def test_colours_become_bgr(kind: str) -> None:
    with device(), opened(replace(SMALL, format=kind)) as source:
        for frame in whole(source, 3):
            assert frame.bgr().shape == (48, 64, 3) and frame.bgr().any()


def test_settings_reach_the_camera() -> None:
    """The simulator's picture is as bright as its exposure and gain say, and keeps what it was told for the next one."""
    means = []
    with device():
        for exposure in (500.0, 10000.0):
            with opened(replace(SMALL, exposure=exposure, gain=0.0)) as source:
                means.append(np.mean([frame.bgr().mean() for frame in whole(source, 3)]))
        with opened(Settings()) as source:
            assert whole(source, 1)[0].size == (48, 64)
        with opened(replace(SMALL, x=10, y=20, width=33, height=17, packet=700, resend=False)) as source:
            assert {frame.bgr().shape for frame in whole(source, 2)} == {(17, 33)}
    assert means[1] > 2 * means[0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": "Mono16"}, r"Mono16 \(16 bits a pixel\) is not taken.*the camera offers .*Mono8"),
        ({"format": "Mono12"}, "has no pixel format Mono12; it has .*Mono8"),
        ({"width": 6400}, "width=6400: the camera .* takes 1 to 2048"),
        ({"exposure": 1e9}, "exposure=1e.09: the camera .* takes .* µs"),
        ({"gain": 1e5}, "gain=100000: the camera .* takes"),
        ({"fps": 9e3}, "fps=9000: the camera .* takes"),
        ({"fps": None, "trigger": "line", "line": "Line7"}, "has no trigger source Line7; it has Line0, Software"),
        ({"fps": None, "trigger": "line", "activation": "falling"}, "activation=falling; it can do: rising"),
    ],
)
def test_what_a_camera_cannot_be(change: dict[str, object], why: str) -> None:
    with device():
        source = AravisSource(HERE, replace(SMALL, **change))  # type: ignore[arg-type]
        with pytest.raises(SourceError, match=why):
            source.open()
        # It was let go: the next one gets it.
        with opened() as other:
            assert whole(other, 1)


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(SourceError, match=r"no camera answers to 'Nobody-9'"):
        AravisSource("Nobody-9").open()
    with (
        device(),
        pytest.raises(SourceError, match=r"no camera answers to 'Nobody-9'; there are: .*Aravis-Fake-GV01 \(127"),
    ):
        AravisSource("Nobody-9").open()


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from lineside.pipelines.aravis import discover

    monkeypatch.setattr(discover, "cameras", list)  # A camera may be on this machine's network, for all we know.
    with pytest.raises(SourceError, match=r"no camera answers, nor does any other; asked on .*lo.*firewall.*3956"):
        AravisSource().open()


@pytest.mark.parametrize("wanted", [HERE, "Aravis-Fake-GV01", "Aravis-GV01"])
def test_a_camera_by_name_and_address(wanted: str) -> None:
    with device(), opened(wanted=wanted) as source:
        assert some(source, 1)[0].source == wanted


def test_a_camera_is_opened_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, Aravis takes the network interface that heard it first, and its pictures may come by another one."""
    from lineside.pipelines.aravis import discover

    known = [("Left", "192.0.2.7"), ("Usb", "USB3"), ("Twin", "192.0.2.8"), ("Twin", "192.0.2.9")]
    monkeypatch.setattr(discover, "cameras", lambda: known)
    ways = {
        "": ("Left", "192.0.2.7"),
        "Left": ("Left", "192.0.2.7"),
        "192.0.2.99": ("192.0.2.99", "192.0.2.99"),
        "Usb": ("Usb", "Usb"),
        "Twin": ("Twin", "Twin"),
        "its nickname": ("its nickname", "its nickname"),
    }
    assert {wanted: discover.find(wanted) for wanted in ways} == ways


def test_the_first_camera_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from lineside.pipelines.aravis import discover

    with device():
        real = discover.cameras()
        assert ("Aravis-Fake-GV01", HERE) in real
        monkeypatch.setattr(discover, "cameras", lambda: [it for it in real if it[1] == HERE])
        with opened(wanted="") as source:
            assert some(source, 1)[0].source == "Aravis-Fake-GV01"


def test_a_paced_software_trigger() -> None:
    with device(), opened(SOFTWARE, pace=5.0) as source:
        frames = some(source, 6)
    numbers = [frame.trigger for frame in frames]
    passed = [frame.missed for frame in frames]
    assert None not in numbers
    assert np.diff(numbers).tolist() == [1] * 5  # type: ignore[arg-type]
    # Planned times, a fifth of a second apart; a trigger that the camera did not answer is counted. A picture that a busy
    # machine receives after the next trigger is taken for the answer to that one, which leaves none for the next picture.
    told = [place for place, frame in enumerate(frames) if TRIGGER in frame.clock]
    assert told and len(frames) - len(told) <= sum(passed)
    for one, other in itertools.pairwise(told):
        steps = (frames[other].clock[TRIGGER] - frames[one].clock[TRIGGER]) / 2e8
        assert steps == pytest.approx(round(steps), abs=1e-6) and 1 <= round(steps) <= other - one + sum(passed)
    assert all(frames[place].clock[TRIGGER] <= frames[place].clock[CAPTURE] for place in told)


def test_a_trigger_from_outside_gives_one_picture() -> None:
    with device(), opened(SOFTWARE) as source:
        frames, numbers = source.frames(), []
        for _ in range(4):
            threading.Thread(target=source.trigger, args=(f"part {len(numbers)}", 1000 + len(numbers))).start()
            frame = next(frames)
            assert (frame.part, frame.encoder) == (f"part {len(numbers)}", 1000 + len(numbers))
            numbers.append(frame.trigger)
            frame.release()
        # Had there been pictures that nobody asked for, they would have numbers too.
        assert np.diff(numbers).tolist() == [1, 1, 1]  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="is not open"):
        source.trigger()


def test_a_camera_that_waits_says_so() -> None:
    with device():
        for settings, pace, waits in ((SOFTWARE, None, True), (SOFTWARE, 2.0, False),
                                      (replace(SOFTWARE, trigger="line"), None, True)):  # fmt: skip
            source = AravisSource(HERE, settings, pace=pace)
            stream = source.open()
            source.close()
            assert (stream.waits, stream.fps) == (waits, pace)


def test_a_stop_needs_no_picture() -> None:
    with device(), opened(replace(SOFTWARE, trigger="line")) as source:
        found: list[object] = []
        reader = threading.Thread(target=lambda: found.extend(source.frames()))
        reader.start()
        source.stop()
        reader.join(60)
        assert not reader.is_alive() and found == []


def test_frames_outlive_the_camera() -> None:
    with device(), opened(replace(SMALL, buffers=8)) as source:
        frames = whole(source, 3)
        kept = [frame.bgr().copy() for frame in frames]
        views = [frame.bgr()[10:20] for frame in frames]
        fork = frames[0].fork()
    # Closed: the stream is gone, its buffers are not.
    assert all(np.array_equal(frame.bgr(), copy) for frame, copy in zip(frames, kept, strict=True))
    for frame in frames:
        frame.release()
    assert np.array_equal(fork.bgr(), kept[0])
    fork.release()
    assert all(np.array_equal(view, copy[10:20]) for view, copy in zip(views, kept, strict=True))


def test_a_buffer_goes_back_at_the_last_release() -> None:
    """More pictures than there are buffers, none copied: each buffer came back in time."""
    with device(), opened(replace(SMALL, buffers=3)) as source:
        addresses = set()
        for frame in itertools.islice(source.frames(), 20):
            assert isinstance(frame.pixels, np.ndarray) and not frame.pixels.flags.writeable
            addresses.add(frame.pixels.ctypes.data)
            frame.hold()
            frame.release()
            frame.release()
        assert 1 <= len(addresses) <= 3


def test_those_who_keep_frames_take_no_buffer_from_the_camera() -> None:
    with device(), opened(replace(SMALL, buffers=4)) as source:
        frames = whole(source, 20)  # All held at once.
        copies = [frame.bgr().flags.writeable for frame in frames]
        assert copies.count(False) <= 3 and not any(copies[:2])
        assert all(is_ramp(frame.bgr()) for frame in frames)
        assert len({frame.bgr().ctypes.data for frame in frames}) == 20
        assert sum(frame.missed for frame in frames) == 0


def test_it_runs_in_a_process_of_its_own() -> None:
    """One trigger at a time: whichever way a busy machine delays its picture, it has no other to be taken for."""
    values = {"id": HERE, "width": 64, "height": 48, "trigger": "software"}
    source = Isolated("aravis", options_of("aravis", values, "test"), Place(name="top"))
    with device(), closing(source):
        assert source.open().size == (48, 64) and source.takes_triggers
        frames = source.frames()
        for encoder in range(3):
            when = time.monotonic_ns()
            threading.Thread(target=source.trigger, args=("A1", encoder, when)).start()
            frame = next(frames)
            assert is_ramp(frame.bgr()) and frame.trigger is not None and frame.damage is None
            assert (frame.part, frame.encoder) == ("A1", encoder)
            assert frame.clock[TRIGGER] == when <= frame.clock[CAPTURE]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def test_nothing_is_left_open() -> None:
    with device():
        counts = []
        for number in range(22):
            with opened(replace(SMALL, buffers=3)) as source:
                some(source, 1)[0].release()
            if number in (1, 21):
                until(lambda: not counts or threads() <= counts[0][1], "threads end")
                counts.append((descriptors(), threads()))
    assert counts[1] <= counts[0]
