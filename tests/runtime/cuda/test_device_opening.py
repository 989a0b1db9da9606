"""Opening a model on a device that does not succeed, and a run that fails: both leave nothing behind and come early."""

from __future__ import annotations

import contextlib
import gc
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import lineside
from helpers.device_arrays import Interface
from helpers.tiny_bundle import tiny_bundle
from lineside.runtime.cuda import host_engine
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.cuda.kernels import KERNELS
from lineside.runtime.engines.base import Engine
from lineside.runtime.errors import DeviceLost, EngineFailed, EngineUnavailable
from lineside.runtime.kernels import host as host_kernels
from lineside.runtime.kernels.kernel import Kernel

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="kernels are built with g++, which is not there")

PICTURE = np.full((60, 80, 3), 250, np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("b") / "tiny.bundle")


class Watched:
    """An engine of arrays that knows whether it was closed."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.closed = engine, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.engine, name)

    def close(self) -> None:
        self.closed += 1
        self.engine.close()


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Watched]]:
    """The engines of arrays below the host's."""
    made: list[Watched] = []
    make = host_engine._engines_of_arrays

    def watched(*given: object) -> list[Watched]:
        made.extend(Watched(engine) for engine in make(*given))  # type: ignore[arg-type]
        return list(made)

    monkeypatch.setattr(host_engine, "_engines_of_arrays", watched)
    yield made
    assert made


@pytest.mark.parametrize("memory", [1000, 100_000, 200_000])
def test_engines_that_find_no_memory_are_closed_and_freed(path: Path, engines: list[Watched], memory: int) -> None:
    device = HostDevice(memory=memory)
    with pytest.raises(EngineFailed, match="out of memory"):
        lineside.load(path, engine="host", device=device, lanes=2)
    assert [engine.closed for engine in engines] == [1, 1, 1, 1]
    assert device.buffers == 0
    device.close()


class Small(HostDevice):
    """Room for one engine; it knows whether it is the current one, how deep it was when memory was freed, and its end."""

    made: list[Small] = []

    def __init__(self) -> None:
        super().__init__(memory=200_000)
        self.depth, self.freed, self.closes = 0, list[int](), 0
        self.made.append(self)

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def close(self) -> None:
        self.closes += 1
        super().close()


def test_a_device_that_was_opened_for_a_model_that_cannot_be_is_closed(
    path: Path, engines: list[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_engine, "HostDevice", Small)
    close = host_engine.HostEngine.close

    def closing(engine: host_engine.HostEngine) -> None:
        device = engine.device
        assert isinstance(device, Small)
        device.freed.append(device.depth)
        close(engine)

    monkeypatch.setattr(host_engine.HostEngine, "close", closing)
    with pytest.raises(EngineFailed, match="out of memory"):
        lineside.load(path, engine="host", lanes=2)
    device = Small.made.pop()
    assert device.freed and set(device.freed) == {1}, "memory is freed while the device is the current one"
    assert (device.closes, device.depth, device.buffers) == (1, 0, 0)


def test_a_compiler_that_is_missing_is_told_when_a_model_is_loaded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(kernel: Kernel) -> None:
        raise EngineUnavailable("there is no C++ compiler: install g++")

    monkeypatch.setattr(host_kernels, "host_function", missing)
    device = HostDevice()
    with pytest.raises(EngineUnavailable, match="install g"):
        lineside.load(path, engine="host", device=device)
    assert device.buffers == 0
    device.close()


def test_no_kernel_is_left_to_be_built_at_a_picture(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = HostDevice()
    built: list[Kernel] = []
    build = host_kernels.host_function
    monkeypatch.setattr(host_kernels, "host_function", lambda kernel: built.append(kernel) or build(kernel))
    with lineside.load(path, engine="host", device=device) as model:
        assert built == list(KERNELS)
        model(PICTURE)
        assert len(built) == len(KERNELS)
    device.close()


@pytest.mark.parametrize("lost", [True, False])
def test_a_run_that_fails_lets_go_of_its_pictures(path: Path, lost: bool) -> None:
    failing: list[Exception] = []

    def look(what: str) -> None:
        if what == "run the engine" and failing:
            raise failing.pop()

    device = HostDevice(inspect=look)
    model = lineside.load(path, engine="host", device=device)
    model(PICTURE)
    frames = [Interface(device, PICTURE) for _ in range(4)]
    kept = [weakref.ref(frame) for frame in frames]
    failing.append(RuntimeError("an illegal address") if lost else EngineFailed("it refused"))
    with pytest.raises(DeviceLost if lost else EngineFailed):
        model.many(frames)  # type: ignore[arg-type]
    del frames
    gc.collect()
    assert [ref() for ref in kept] == [None] * 4
    model.close()
    device.close()
