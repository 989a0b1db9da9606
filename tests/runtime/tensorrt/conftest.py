from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import trt_double
from helpers.tiny_bundle import tiny_bundle
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.engines.tensorrt import machine


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Iterator[trt_double.Settings]:
    """The double in TensorRT's place, host devices that say they are an Orin's GPU, and a cache of the test's own."""
    settings = trt_double.Settings()
    opened: list[HostDevice] = []

    def open_device() -> HostDevice:
        device = HostDevice(integrated=settings.integrated)
        device.arch, device.name = f"compute_{settings.sm}", "a double of an Orin"
        settings.device = device
        opened.append(device)
        return device

    monkeypatch.setattr(trt_double, "SETTINGS", settings)
    monkeypatch.setitem(sys.modules, "tensorrt", trt_double)
    monkeypatch.setattr(machine, "open_device", open_device)
    yield settings
    for device in opened:
        device.close()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with a model of a few operators."""
    return tiny_bundle(tmp_path / "tiny.bundle")
