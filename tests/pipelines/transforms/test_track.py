"""A part that crosses the picture is one part."""

from __future__ import annotations

import numpy as np
import pytest

from lineside.pipelines.catalog import Place, make, options_of
from lineside.pipelines.frame import CAPTURE, Frame
from lineside.pipelines.records import record
from lineside.pipelines.transforms.track import Track
from lineside.runtime.detections import Detections
from lineside.runtime.errors import BadOption, StationError

PERIOD = 33_000_000


def tracker(**values: object) -> Track:
    made = make("track", options_of("track", values, "test"), Place())
    made.open()
    return made


def seen(number: int, boxes: list[tuple[float, float, float, float]], scores: list[float] | None = None) -> Frame:
    """Frame k of a camera with 30 frames per second, and what was found in it."""
    count = len(boxes)
    frame = Frame(np.zeros((200, 2000, 3), np.uint8))
    frame.clock[CAPTURE] = 10**12 + number * PERIOD
    frame.detections = Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores or [0.9] * count, np.float32), np.zeros(count, np.int32),
        np.arange(count, dtype=np.int32), None, ("part",), (200, 2000),
    )  # fmt: skip
    return frame


def at(x: float) -> tuple[float, float, float, float]:
    """A part of 60 x 60 px."""
    return (x, 50, x + 60, 110)


def numbers(track: Track, frames: list[Frame]) -> list[list[int]]:
    for frame in frames:
        track(frame)
    return [frame.detections.tracks.tolist() for frame in frames]  # type: ignore[union-attr]


@pytest.mark.parametrize("speed", [0, 3, 20, 45])
def test_a_part_keeps_its_number_as_it_moves(speed: int) -> None:
    assert numbers(tracker(), [seen(k, [at(speed * k)]) for k in range(20)]) == [[0]] * 20


def test_parts_after_one_another_are_other_parts() -> None:
    track = tracker()
    frames = [seen(k, [at(x) for x in (20 * k, 20 * k - 150, 20 * k - 300) if 0 <= x <= 400]) for k in range(40)]
    found = numbers(track, frames)
    assert track.parts == 3 and sorted({number for row in found for number in row}) == [0, 1, 2]
    assert [len(set(row)) for row in found] == [len(row) for row in found]


def test_a_part_that_is_hidden_for_a_moment_is_the_same() -> None:
    track = tracker(lost="500ms")
    frames = [seen(k, [] if 5 <= k < 10 else [at(5 * k)]) for k in range(20)]
    assert {n for row in numbers(track, frames) for n in row} == {0}
    late = seen(200, [at(100)])
    assert numbers(track, [late]) == [[1]], "after half a second it is another one"


def test_a_weak_detection_goes_on_with_a_part_and_begins_none() -> None:
    track = tracker(sure=0.5)
    assert numbers(track, [seen(0, [at(0)], [0.3])]) == [[-1]]
    frames = [seen(k, [at(3 * k)], [0.9 if k < 4 else 0.3]) for k in range(1, 10)]
    assert numbers(track, frames) == [[0]] * 9 and track.parts == 1


def test_a_fast_belt_whose_speed_is_known() -> None:
    frames = [seen(k, [at(100 * k)]) for k in range(15)]  # by more than its own length each time
    lost, known = tracker(), tracker(belt=f"{100 / (PERIOD / 1e9):.3f},0")
    numbers(lost, frames)
    assert lost.parts > 5
    assert numbers(known, frames) == [[0]] * 15


def test_a_belt_that_stops_and_starts_with_an_encoder() -> None:
    track, count, frames = tracker(per_count="2,0"), 0, []
    for k in range(30):
        count += 50 if k % 10 < 5 else 0
        frame = seen(k, [at(2 * count)])
        frame.encoder = count
        frames.append(frame)
    assert numbers(track, frames) == [[0]] * 30
    with pytest.raises(BadOption, match="encoder count"):
        track(seen(31, [at(0)]))


def test_numbers_go_into_the_results_and_their_names_are_let_go() -> None:
    track = tracker(lost="40ms")
    for k in range(5000):
        frame = seen(10 * k, [at(k % 50)])
        track(frame)
    assert track.parts == 5000 and len(track._numbers) < 4100
    frame.outcome = "inspected"
    frame.clock["decided"] = frame.clock[CAPTURE]
    assert record(frame)["detections"][0]["track"] == 4999
    assert frame.detections is not None and frame.detections[0].to_dict()["detections"][0]["track"] == 4999


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"belt": "1,0", "per_count": "1,0"}, "give belt or per_count"),
        ({"lost": "soon"}, "not a time"),
        ({"belt": "1"}, "belt"),
    ],
)
def test_options_that_cannot_be_meant(values: dict[str, str], says: str) -> None:
    with pytest.raises(StationError, match=says):
        options_of("track", values, "test")
