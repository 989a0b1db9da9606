"""The segment transform, its live settings, and a change of bundle while the line runs."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import lineside
from helpers.elements import Keep
from helpers.media import picture
from helpers.tiny_bundle import tiny_bundle
from lineside.pipelines.events import Bus, Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.graph import Graph
from lineside.pipelines.segment import Segment, fresh_lanes
from lineside.pipelines.settings import Settings, Thresholds
from lineside.pipelines.sources.memory import Memory
from lineside.runtime.errors import BadOption, EngineFailed

LONG = 60.0


def test_results_are_those_of_the_model_in_every_lane(bundle: Path) -> None:
    arrays = [picture((60 + 20 * k, 100), k) for k in range(4)]
    with lineside.load(bundle) as alone:
        wanted = [alone(array) for array in arrays]
    got: dict[int, Frame] = {}

    def keep(frame: Frame) -> None:
        got[frame.sequence] = frame

    graph = Graph(Memory(arrays, 40), Segment(lineside.load(bundle, mode="throughput", lanes=3)), [Keep(gate=keep)])
    graph.run()
    assert sorted(got) == list(range(40))
    for sequence, frame in got.items():
        assert frame.detections is not None
        expected = wanted[sequence % 4]
        np.testing.assert_array_equal(frame.detections.boxes, expected.boxes)
        np.testing.assert_array_equal(frame.detections.scores, expected.scores)
        np.testing.assert_array_equal(frame.detections.masks[0].to_array(), expected.masks[0].to_array())
    stages = graph.flow.clock.stats()
    assert all(stages[name].count == 40 for name in ("queue", "preprocess", "infer", "postprocess", "total"))


def test_latest_is_latest(bundle: Path) -> None:
    """A lane that waits for the engine with a frame in its hands would make that frame old."""
    with lineside.load(bundle, lanes=2) as model:
        assert Segment(model, lanes=fresh_lanes("latest", "latency")).lanes == 1
        assert Segment(model, lanes=fresh_lanes("every", "latency")).lanes == 2
        assert Segment(model, lanes=fresh_lanes("latest", "throughput")).lanes == 2


def test_the_graph_closes_its_model(bundle: Path) -> None:
    model = lineside.load(bundle)
    Graph(Memory([picture((20, 20))], 1), Segment(model)).run()
    with pytest.raises(EngineFailed):
        model(picture((20, 20)))


def test_settings_act_on_the_next_frame(bundle: Path) -> None:
    settings = Settings()
    counts: list[int] = []

    def change(frame: Frame) -> None:
        assert frame.detections is not None
        counts.append(len(frame.detections))
        if frame.sequence == 2:
            settings.update(max_det=2)
        elif frame.sequence == 5:
            settings.update(max_det=None, conf=0.5)

    with lineside.load(bundle) as alone:
        wanted = [alone(picture((120, 160)), conf=conf) for conf in (None, 0.5)]
    turn = threading.Semaphore(1)
    source = Memory([picture((120, 160))], 8)
    model = lineside.load(bundle, lanes=1)

    def gate(frame: Frame) -> None:
        change(frame)
        turn.release()

    class Stepped(Segment):
        """Waits until the sink has seen the frame before."""

        def __call__(self, frame: Frame) -> None:
            assert turn.acquire(timeout=LONG)
            super().__call__(frame)

    Graph(source, Stepped(model, settings), [Keep(gate=gate)]).run()
    everything, confident = (len(model_found) for model_found in wanted)
    assert everything > confident > 2
    assert counts == [everything] * 3 + [2] * 3 + [confident] * 2


def test_a_bad_setting_changes_nothing() -> None:
    settings = Settings(Thresholds(conf=0.5))
    for change in ({"conf": 1.0}, {"conf": -0.1}, {"conf": float("nan")}, {"conf": "high"}, {"iou": 1.1}):
        with pytest.raises(BadOption):
            settings.update(**change)
    for change in ({"max_det": 0}, {"masks": "pretty"}, {"speed": 3}):
        with pytest.raises(BadOption):
            settings.update(**change)
    assert settings.thresholds == Thresholds(conf=0.5) and settings.version == 0
    settings.update(iou=0.3)
    assert settings.thresholds == Thresholds(conf=0.5, iou=0.3) and settings.version == 1
    with pytest.raises(BadOption, match="no segment transform"):
        settings.request_bundle("x.bundle")


def test_another_bundle_takes_over_while_frames_come(bundle: Path, tmp_path: Path) -> None:
    other = tiny_bundle(tmp_path / "other.bundle", classes=3)
    settings, bus = Settings(), Bus()
    events: list[Event] = []
    switched, refused = threading.Event(), threading.Event()

    def hear(event: Event) -> None:
        events.append(event)
        (
            switched if event.kind == "bundle switched" else refused if event.kind == "bundle refused" else bus_noise
        ).set()

    bus_noise = threading.Event()
    bus.listen(hear)
    first = lineside.load(bundle)
    names: list[int] = []

    def count(frame: Frame) -> None:
        assert frame.detections is not None
        names.append(len(frame.detections.names))

    transform = Segment(first, settings, bus=bus, load=lineside.load)
    graph = Graph(Memory([picture((40, 40))]), transform, [Keep(gate=count)], bus=bus)
    graph.start()
    settings.request_bundle(tmp_path / "nothing.bundle")
    assert refused.wait(LONG)
    settings.request_bundle(other)
    assert switched.wait(LONG)
    seen = len(names)
    while len(names) < seen + 20:  # Frames keep coming.
        assert not graph.join(0.01)
    assert graph.close(drain=LONG)
    assert names[0] == 2 and names[-1] == 3 and names == sorted(names)
    assert graph.flow.counters.snapshot().failed == 0, "no frame met a closed model"
    with pytest.raises(EngineFailed):
        first(picture((40, 40)))
    with pytest.raises(EngineFailed):
        transform.model(picture((40, 40)))


def test_steady_state_allocates_nothing_large(bundle: Path) -> None:
    import tracemalloc

    array = picture((1080, 1920))
    peaks: list[int] = []

    def measure(frame: Frame) -> None:
        if frame.sequence == 10:
            tracemalloc.start()
        elif frame.sequence > 12:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()

    try:
        Graph(Memory([array], 40), Segment(lineside.load(bundle)), [Keep(gate=measure)]).run()
    finally:
        tracemalloc.stop()
    assert len(peaks) == 27
    assert sorted(peaks)[len(peaks) // 2] < 200_000, f"a frame is {array.nbytes} bytes"
