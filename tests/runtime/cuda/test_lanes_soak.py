"""Ten thousand frames on the host device, with the model's outputs recorded: nothing grows."""

from __future__ import annotations

import gc
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import lineside
from helpers.tiny_bundle import tiny_bundle
from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.engines.recorded import save_recording

pytest.importorskip("onnxruntime")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="kernels are built with g++, which is not there"),
]

FRAMES = 10_000
FORMS = ((24, 32), (32, 32))


def resident() -> int:
    """Bytes of memory that this process holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) << 10
    raise AssertionError("the system does not say")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say what memory is held")
def test_ten_thousand_frames_leave_nothing_behind(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "tiny.bundle", size=(32, 32), classes=1, coefficients=2)
    pictures = [np.full((*form, 3), 250, np.uint8) for form in FORMS]
    with lineside.load(path) as cpu:
        outputs = [cpu.infer(np.full((1, 3, 32, 32), value, np.float32)) for value in (0.9, 0.1)]
        save_recording(tmp_path / "r.npz", cpu.manifest, outputs)
    device = HostDevice()
    with lineside.load(path, engine=f"host:{tmp_path / 'r.npz'}", device=device) as model:

        def run(frames: int) -> list[int]:
            return [len(model(pictures[number % 2], max_det=1 + number % 2)) for number in range(frames)]

        assert run(200)[:2] == [1, 0], "both outputs are played"
        gc.collect()
        device.counters.reset()
        state = (device.buffers, device.memory_used, threading.active_count())
        blocks, held = sys.getallocatedblocks(), resident()
        found = sum(run(FRAMES))
        gc.collect()
        grown = sys.getallocatedblocks() - blocks
        assert found == FRAMES // 2
        assert state == (device.buffers, device.memory_used, threading.active_count())
        counters = device.counters
        assert (counters.graph_launches, counters.synchronisations, counters.allocations) == (FRAMES, FRAMES, 0)
        assert grown < FRAMES // 10, f"{grown} more objects of Python's are alive"
        assert resident() - held < 4 << 20
        device.check_bounds()
    device.close()
