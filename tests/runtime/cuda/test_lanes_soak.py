"""Ten thousand frames on the host device, with the model's outputs recorded: nothing grows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lineside
from helpers.memory import STATUS
from helpers.tiny_bundle import tiny_bundle
from lineside.runtime.engines.recorded import save_recording

pytest.importorskip("onnxruntime")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="kernels are built with g++, which is not there"),
]

FRAMES = 10_000
TESTS = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not say what memory is held")
def test_ten_thousand_frames_leave_nothing_behind(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "tiny.bundle", size=(32, 32), classes=1, coefficients=2)
    recording = tmp_path / "r.npz"
    with lineside.load(path) as cpu:
        outputs = [cpu.infer(np.full((1, 3, 32, 32), value, np.float32)) for value in (0.9, 0.1)]
        save_recording(recording, cpu.manifest, outputs)
    # In a process of its own: what others leave in this one is freed or faulted in at any time.
    command = [sys.executable, "-m", "helpers.lane_soak", str(path), str(recording), str(FRAMES)]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    before, after = said["before"], said["after"]
    assert said["first"] == [1, 0], "both outputs are played"
    assert said["found"] == FRAMES // 2
    assert {name: after[name] - before[name] for name in ("buffers", "device", "threads")} == dict.fromkeys(
        ("buffers", "device", "threads"), 0
    )
    assert said["did"] == [FRAMES, FRAMES, 0], "one graph and one wait for each, and no memory"
    assert after["blocks"] - before["blocks"] < FRAMES // 10, "more objects of Python's are alive"
    assert after["memory"] - before["memory"] < 4 << 20
