"""Live sources: the newest picture, what passed unseen is counted, and the age of a picture is that of its capture."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.gst import PATIENCE, needs, opened, until
from lineside.pipelines.catalog import Place, make, options_of, watched
from lineside.pipelines.frame import CAPTURE, READ
from lineside.pipelines.gst.pipeline import Pipeline
from lineside.pipelines.gst.skips import Skips

EYE = "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=16,height=8,framerate=100/1"


def slowly() -> None:
    """Works on a frame for longer than the next ones take to come."""
    threading.Event().wait(0.1)


def test_what_passed_unseen_is_counted_exactly_where_the_source_counts() -> None:
    needs("videotestsrc")
    with opened(EYE, live=True) as source:
        frames = source.frames()
        numbers, missed = [], []
        for _ in range(6):
            frame = next(frames)
            numbers.append(round(frame.pts * 100))
            missed.append(frame.missed)
            slowly()
    gaps = [b - a - 1 for a, b in itertools.pairwise(numbers)]
    # The clock may be late at one picture; then the next is early.
    assert missed[0] == 0 and sum(missed) > 5
    assert abs(sum(missed) - sum(gaps)) <= 1


def test_what_passed_unseen_is_never_counted_too_high() -> None:
    """The number of a picture is lost on its way here; what reached the appsink is known still."""
    needs("videotestsrc", "jpegenc", "jpegdec")
    with opened(f"{EYE} ! videoconvert ! jpegenc ! jpegdec", live=True) as source:
        frames = source.frames()
        first = last = next(frames)
        missed = 0
        for _ in range(12):
            slowly()
            last = next(frames)
            missed += last.missed
    between = round((last.pts - first.pts) * 100) - 12
    assert 0 < missed <= between + 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=40), st.integers(1, 4), st.booleans())
def test_skips(steps: list[tuple[int, int]], waiting: int, numbered: bool) -> None:
    """Any number dropped before each picture, and any number that came in before the counter was read."""
    skips, index, dropped, counted = Skips(waiting), 7, 0, 0
    assert skips.before(index if numbered else None, (index + 1).__index__) == 0
    for passed, after in steps:
        index += 1 + passed
        dropped += passed
        found = skips.before(index if numbered else None, (index + 1 + min(after, waiting)).__index__)
        assert found >= 0 and (not numbered or found == passed)
        counted += found
        assert counted <= dropped and dropped - counted <= (0 if numbered else waiting)


def test_a_source_that_counts_anew_has_lost_nothing() -> None:
    skips = Skips(1)
    assert [skips.before(number, lambda: 100) for number in (50, 51, 0, 1, 3)] == [0, 0, 0, 0, 1]


def test_pictures_are_as_old_as_their_capture() -> None:
    """Several wait: each has its own age, from before anybody asked for it."""
    needs("videotestsrc")
    pipeline = Pipeline(EYE, newest=False, buffers=8)
    try:
        pipeline.start()
        until(lambda: pipeline.arrived() >= 5, "five pictures")
        asked = time.monotonic_ns()
        captured = [pulled.captured for _ in range(4) if (pulled := pipeline.pull(PATIENCE)) is not None]
    finally:
        assert pipeline.stop(PATIENCE)
    assert len(captured) == 4 and None not in captured
    assert captured == sorted(set(captured)) and captured[-1] < asked  # type: ignore[type-var]


def test_frames_carry_capture_and_wall_time() -> None:
    needs("videotestsrc")
    before = time.time()
    with opened(EYE, live=True) as source:
        frames = source.frames()
        got = [next(frames) for _ in range(3)]
    for frame in got:
        assert frame.clock[CAPTURE] <= frame.clock[READ]
        assert before <= frame.wall <= time.time()
    assert [frame.pts for frame in got] == sorted({frame.pts for frame in got})


@pytest.mark.parametrize(("buffers", "kept"), [(1, 0), (4, 1)])
def test_the_picture_from_before_the_start_is_not_the_first(buffers: int, kept: int) -> None:
    """The newest counts, and it is from before somebody wanted one; where several may wait, none is to be lost."""
    needs("videotestsrc")
    text = EYE.replace("is-live=true", "is-live=true num-buffers=1")
    with opened(text, live=True, buffers=buffers) as source:
        assert [frame.missed for frame in source.frames()] == [0] * kept


def test_a_pattern_ends_after_its_frames() -> None:
    needs("videotestsrc")
    words = {
        "kind": "snow",
        "width": "33",
        "height": "17",
        "frames": "7",
        "live": "false",
        "format": "I420",
        "timeout": "120",
    }
    options = options_of("pattern", words, "test", text=True)
    source = make("pattern", options, Place(name="eye"))
    info = source.open()
    frames = list(source.frames())
    source.close()
    assert (info.live, info.frames, info.size, info.fps) == (False, 7, (17, 33), 30.0)
    assert [frame.size for frame in frames] == [(17, 33)] * 7
    assert len({frame.bgr().tobytes() for frame in frames}) == 7


@pytest.mark.parametrize(
    ("element", "values", "expected"),
    [
        ("rtsp", {"url": "rtsp://camera/1"}, True),
        ("gst", {"location": "a.mp4"}, False),
        ("pattern", {}, True),
        ("pattern", {"frames": 3}, False),
        ("gst-launch", {"text": "videotestsrc"}, True),
        ("gst-launch", {"text": "videotestsrc", "live": False}, False),
    ],
)
def test_whose_end_is_a_fault(element: str, values: dict[str, object], expected: bool) -> None:
    assert watched(element, options_of(element, values, "test")) is expected
