"""What goes wrong on a device: a sentence each time, the same one until the model is loaded again, and nothing is lost."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import lineside
from helpers.elements import Keep
from helpers.tiny_bundle import tiny_bundle
from lineside.pipelines.counters import Snapshot
from lineside.pipelines.frame import Frame
from lineside.pipelines.graph import Graph
from lineside.pipelines.segment import Segment
from lineside.pipelines.sources.memory import Memory
from lineside.runtime.bundle import open_bundle
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.cuda.host_stream import HostStream
from lineside.runtime.cuda.runner import DeviceRunner
from lineside.runtime.engines import open_engines
from lineside.runtime.engines.base import EngineOptions
from lineside.runtime.errors import DeviceLost, EngineFailed

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="kernels are built with g++, which is not there")

PICTURE = np.full((60, 80, 3), 250, np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("b") / "tiny.bundle")


class Faults:
    """Lets something happen at the n-th time that a device does a thing."""

    def __init__(self) -> None:
        self.what, self.left, self.error = "", 0, Exception()

    def plan(self, what: str, nth: int, error: Exception) -> None:
        self.what, self.left, self.error = what, nth, error

    def __call__(self, what: str) -> None:
        if self.what and what.startswith(self.what):
            self.left -= 1
            if self.left == 0:
                raise self.error


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def device(faults: Faults) -> Iterator[HostDevice]:
    made = HostDevice(inspect=faults)
    yield made
    made.close()


@pytest.mark.parametrize("what", ["run letterbox", "run suppress", "run copy", "run the engine"])
def test_a_device_that_is_lost_in_the_middle_of_a_frame(
    path: Path, device: HostDevice, faults: Faults, what: str
) -> None:
    model = lineside.load(path, engine="host", device=device)
    want = model(PICTURE)
    faults.plan(what, 1, RuntimeError("an illegal address"))
    sentences = set()
    for ask in (
        lambda: model(PICTURE),
        lambda: model(PICTURE),
        lambda: model(PICTURE[:30]),
        lambda: model.many([PICTURE] * 5),
        lambda: model.raw(PICTURE),
        lambda: model.infer(np.zeros((1, 3, 64, 64), np.float32)),
    ):
        with pytest.raises(DeviceLost, match="device was lost .*an illegal address.*load the bundle again") as caught:
            ask()
        sentences.add(str(caught.value))
    assert len(sentences) == 1
    model.close()
    with lineside.load(path, engine="host") as again:
        np.testing.assert_array_equal(again(PICTURE).boxes, want.boxes)


def test_lost_between_two_runs_of_many(path: Path, device: HostDevice, faults: Faults) -> None:
    model = lineside.load(path, engine="host", device=device)
    model.many([PICTURE] * 4)
    faults.plan("run letterbox", 3, RuntimeError("an illegal address"))
    with pytest.raises(DeviceLost):
        model.many([PICTURE] * 6)
    model.close()


@pytest.mark.parametrize("what", ["graph", "run the engine"])
def test_a_refusal_passes(path: Path, device: HostDevice, faults: Faults, what: str) -> None:
    with lineside.load(path, engine="host", device=device) as model:
        want = model(PICTURE)
        for ask in (lambda: model(PICTURE), lambda: model.many([PICTURE] * 5)):
            faults.plan(what, 1, EngineFailed("it refused: try again"))
            with pytest.raises(EngineFailed, match="it refused") as caught:
                ask()
            assert not isinstance(caught.value, DeviceLost)
            np.testing.assert_array_equal(model(PICTURE).boxes, want.boxes)
            assert len(model.many([PICTURE] * 3)) == 3


def test_out_of_memory_at_a_new_form_leaves_the_others_alone(path: Path, device: HostDevice, faults: Faults) -> None:
    with lineside.load(path, engine="host", device=device) as model:
        want = model(PICTURE)
        before = device.buffers
        faults.plan("allocate", 2, EngineFailed("the device is out of memory: choose fewer lanes"))
        with pytest.raises(EngineFailed, match="out of memory"):
            model(PICTURE[:30])
        assert device.buffers == before
        np.testing.assert_array_equal(model(PICTURE).boxes, want.boxes)
        assert len(model(PICTURE[:30]))


@pytest.mark.parametrize("memory", [1000, 100_000, 200_000])
def test_a_device_that_is_too_small(path: Path, memory: int) -> None:
    device = HostDevice(memory=memory)
    with pytest.raises(EngineFailed, match="out of memory.*choose fewer lanes"):
        lineside.load(path, engine="host", device=device)(PICTURE)
    device.close()
    assert device.buffers == 0


def test_a_lane_that_cannot_be_made_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = HostDevice()
    made: list[HostStream] = []

    def stream() -> HostStream:
        if len(made) == 2:  # one of the engines, one of the first slot
            raise EngineFailed("no more streams")
        made.append(HostDevice.stream(device))
        return made[-1]

    monkeypatch.setattr(device, "stream", stream)
    with pytest.raises(EngineFailed, match="no more streams"):
        lineside.load(path, engine="host", device=device)
    assert len(made) == 2 and device.buffers == 0
    device.close()


class Entered(HostDevice):
    """Knows whether it is the current one."""

    depth = 0

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1


def test_closing_needs_the_device_and_goes_on_although_an_engine_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Entered()
    closed: list[int] = []
    (runner,) = open_engines("host", open_bundle(path), EngineOptions(device=device))
    assert isinstance(runner, DeviceRunner) and len(runner.engines) == 2
    for engine in runner.engines:

        def close(close: Callable[[], None] = engine.close) -> None:
            closed.append(device.depth)
            close()
            raise EngineFailed("it does not close")

        monkeypatch.setattr(engine, "close", close)
    with pytest.raises(EngineFailed, match="does not close"):
        runner.close()
    assert closed == [1, 1] and device.depth == 0 and device.buffers == 0
    device.close()


def test_a_kernel_that_cannot_be_launched(path: Path, device: HostDevice, faults: Faults) -> None:
    with lineside.load(path, engine="host", device=device) as model:
        faults.plan("launch suppress", 1, EngineFailed("the kernel suppress cannot run in blocks of 0 threads"))
        with pytest.raises(EngineFailed, match="kernel suppress cannot run"):
            model(PICTURE)
        assert len(model(PICTURE))


def station(path: Path, device: HostDevice, faults: Faults, what: str, error: Exception) -> tuple[Keep, Snapshot]:
    """Twelve frames through a line whose device fails after the sixth; what its sink saw, and the counts."""
    pytest.importorskip("hdrh", reason="the extra station, whose clocks it is, is not installed")

    def keep(frame: Frame) -> None:
        if frame.sequence == 5:
            faults.plan(what, 1, error)
        turn.release()

    class Stepped(Segment):
        """Waits until the sink has seen the frame before."""

        def __call__(self, frame: Frame) -> None:
            assert turn.acquire(timeout=60)
            super().__call__(frame)

    turn = threading.Semaphore(1)
    model = lineside.load(path, engine="host", device=device)
    model(PICTURE)
    sink = Keep(gate=keep, takes_failed=True)
    graph = Graph(Memory([PICTURE], 12), Stepped(model), [sink])
    graph.run()
    return sink, graph.flow.counters.snapshot()


def test_a_station_goes_on_after_a_refusal_and_loses_nothing(path: Path, device: HostDevice, faults: Faults) -> None:
    sink, counts = station(path, device, faults, "graph", EngineFailed("it refused"))
    assert sink.frames == list(range(12)) and [bool(error) for error in sink.errors].count(True) == 1
    assert (counts.inspected, counts.failed, counts.entered) == (11, 1, 12)
    assert "it refused" in str(sink.errors[6])


def test_a_station_whose_device_is_lost_counts_every_frame_and_ends(
    path: Path, device: HostDevice, faults: Faults
) -> None:
    sink, counts = station(path, device, faults, "run letterbox", RuntimeError("an illegal address"))
    assert sink.frames == list(range(12)) and all(sink.errors[6:]) and not any(sink.errors[:6])
    assert (counts.inspected, counts.failed, counts.entered) == (6, 6, 12)
    assert len(set(sink.errors[6:])) == 1 and "device was lost" in str(sink.errors[6])
