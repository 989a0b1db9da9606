"""A model that takes two pictures at once, shared by two sources: their frames share runs, and nobody sees a difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

import lineside
from helpers.elements import Keep
from helpers.media import picture
from helpers.tiny_bundle import tiny_bundle
from lineside.pipelines.frame import Frame
from lineside.pipelines.link import Policy
from lineside.pipelines.looks import BranchName, Look, Way
from lineside.pipelines.runner import Runner
from lineside.pipelines.segment import Segment
from lineside.pipelines.sources.memory import Memory
from lineside.runtime.bundle import open_bundle
from lineside.runtime.engines import open_engines
from lineside.runtime.engines.base import Array, Engine, EngineOptions
from lineside.runtime.lane import CpuLane
from lineside.runtime.segmenter import Segmenter

LONG = 60.0
FOREVER = 10**12
"""A patience, in ns, with which every run is full until the sources have ended."""


class Counted:
    """A real engine that counts its runs."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.buffers, self.close = engine.name, engine.buffers, engine.close
        self.runs = 0
        self._engine = engine

    def infer(self, inputs: Mapping[str, Array], begun: Callable[[], None] | None = None) -> list[Array]:
        self.runs += 1
        return self._engine.infer(inputs, begun)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose model takes two pictures at once."""
    return tiny_bundle(tmp_path_factory.mktemp("pair") / "pair.bundle", batch=2)


def shared(
    pair: Path, shown: dict[str, list[np.ndarray]], counts: dict[str, int], patience_ns: int
) -> tuple[Counted, dict[str, dict[int, Frame]], Runner]:
    """Runs sources to their end in front of one such model; gives the engine, and each source's frames by number."""
    bundle = open_bundle(pair)
    engine = Counted(open_engines("onnxruntime", bundle, EngineOptions())[0])
    got: dict[str, dict[int, Frame]] = {name: {} for name in shown}
    runner = Runner()
    runner.add_model(
        "model",
        Segment(Segmenter(bundle.manifest, [CpuLane(engine, bundle.manifest)], engine.name)),
        patience_ns=patience_ns,
    )
    keep = Keep(takes_failed=True, gate=lambda frame: got[frame.source].__setitem__(frame.sequence, frame))
    runner.add_sink(keep)
    for name, pictures in shown.items():
        runner.add_source(name, Memory(pictures, counts[name]), rename=True)
        runner.add_look(Look(name, "model", [Way("keep")], Policy("every", 4)))
    runner.start()
    assert runner.join(LONG), runner.hanging()
    return engine, got, runner


def check(pair: Path, shown: dict[str, list[np.ndarray]], got: dict[str, dict[int, Frame]]) -> int:
    """Every frame with a result has what the model says of its picture alone; gives how many there are."""
    count = 0
    with lineside.load(pair) as alone:
        for name, pictures in shown.items():
            for number, frame in got[name].items():
                if frame.error is not None:
                    continue
                expected, found = alone(pictures[number % len(pictures)]), frame.detections
                assert found is not None and len(found) == len(expected) > 0
                assert found.image_size == expected.image_size
                np.testing.assert_array_equal(found.boxes, expected.boxes)
                np.testing.assert_array_equal(found.scores, expected.scores)
                np.testing.assert_array_equal(found.classes, expected.classes)
                for mask, wanted in zip(found.masks, expected.masks, strict=True):  # type: ignore[arg-type]
                    np.testing.assert_array_equal(mask.to_array(), wanted.to_array())
                count += 1
    return count


def test_frames_of_two_sources_share_runs_and_each_gets_its_own_result(pair: Path) -> None:
    shown = {
        "top": [picture((96, 160), seed) for seed in range(3)],
        "side": [picture((120, 60), seed) for seed in range(3, 7)],
    }
    engine, got, runner = shared(pair, shown, {"top": 20, "side": 15}, FOREVER)
    assert {name: sorted(frames) for name, frames in got.items()} == {"top": [*range(20)], "side": [*range(15)]}
    assert check(pair, shown, got) == 35
    assert engine.runs == 18, "seventeen runs of two frames, and the last frame alone"
    for name, counts in runner.snapshot().items():
        assert counts.balanced and counts.inspected == counts.entered == len(got[name.source])
    together: dict[int, set[str]] = {}
    for name, frames in got.items():
        for frame in frames.values():
            together.setdefault(frame.clock["infer"], set()).add(name)
    assert len(together) == engine.runs, "who shares a run has the same moment of its end"
    assert {"top", "side"} in together.values(), "frames of both sources were in one run"


def test_one_bad_picture_costs_the_other_one_of_its_run_nothing(pair: Path) -> None:
    bad = np.zeros((40, 40, 3), np.float32)
    shown = {"top": [picture((64, 64), 1), bad, picture((64, 64), 2)], "side": [picture((50, 90), 3)]}
    engine, got, runner = shared(pair, shown, {"top": 12, "side": 12}, FOREVER)
    assert check(pair, shown, got) == 20
    assert [number for number, frame in sorted(got["top"].items()) if frame.error] == [1, 4, 7, 10]
    counts = runner.snapshot()
    assert counts[BranchName("top", "model")].failed == 4 and counts[BranchName("side", "model")].failed == 0
    assert all(it.balanced and it.in_flight == 0 for it in counts.values())
    assert engine.runs < 20, "good pairs still share a run"


def test_a_source_that_is_alone_is_not_kept_waiting_for_a_second_frame(pair: Path) -> None:
    """The wait for a run to fill is bounded: a frame without company is looked at when the patience is over."""
    shown = {"top": [picture((64, 64), 1)]}
    engine, got, _ = shared(pair, shown, {"top": 1}, FOREVER)
    assert (engine.runs, sorted(got["top"])) == (1, [0]), "the source has ended: nobody else can come"

    alone = Runner()
    seen: list[int] = []

    class Patient(Memory):
        """Gives its second picture only when the first one has been looked at."""

        def frames(self):  # type: ignore[no-untyped-def]
            for number, frame in enumerate(super().frames()):
                while number > len(seen):
                    if self._stop.wait(0.01):
                        return
                yield frame

    model = Segment(lineside.load(pair))
    alone.add_model("model", model, patience_ns=2_000_000)
    alone.add_sink(Keep(gate=lambda frame: seen.append(frame.sequence)))
    alone.add_source("top", Patient(shown["top"], 3))
    alone.add_look(Look("top", "model", [Way("keep")]))
    alone.start()
    assert alone.join(LONG), "it waits for a frame that waits for it"
    assert seen == [0, 1, 2]
