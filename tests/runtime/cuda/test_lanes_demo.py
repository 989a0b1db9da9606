"""The demo bundles on the host device: bit for bit what the processor finds, on pictures of real sizes, and from a shell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import lineside
from lineside.cli import app
from lineside.runtime import Detections
from lineside.runtime.yuv import Yuv

pytest.importorskip("onnxruntime")
cv2 = pytest.importorskip("cv2")
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="kernels are built with g++, which is not there")

DEMO = Path(__file__).resolve().parents[3] / "demo"
SIZES = ((480, 640), (1080, 1920), (333, 517))


def agree(have: Detections, want: Detections) -> None:
    """Both are the same to the bit, which is more than the 0.01 pixels and the overlap of 0.999 that are asked for."""
    for name in ("boxes", "scores", "classes", "anchors"):
        np.testing.assert_array_equal(getattr(have, name), getattr(want, name))
    assert have.masks is not None and want.masks is not None
    np.testing.assert_array_equal(have.masks.spans, want.masks.spans)
    np.testing.assert_array_equal(have.masks.offsets, want.masks.offsets)


def nv12(frame: np.ndarray) -> Yuv:  # type: ignore[type-arg]
    height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
    flat = cv2.cvtColor(np.ascontiguousarray(frame[:height, :width]), cv2.COLOR_BGR2YUV_I420)
    return Yuv.from_buffer(flat.reshape(-1), "I420", (height, width))


@pytest.mark.slow
@pytest.mark.parametrize("bundle", ["bearing", "tube"])
def test_demo_bundles_find_the_same(bundle: str) -> None:
    path = DEMO / f"{bundle}.bundle"
    pictures = [cv2.imread(str(file)) for file in sorted((DEMO / "pictures" / bundle).glob("*.jpg"))[1:4]]
    found = 0
    with lineside.load(path) as cpu, lineside.load(path, engine="host") as model:
        for picture, (height, width) in zip(pictures, SIZES, strict=False):
            frame = cv2.resize(picture, (width, height))
            for shown in (frame, frame[..., 1], frame[::-1], nv12(frame)):
                want = cpu(shown)
                agree(model(shown), want)
                found += len(want)
    assert found


def test_the_command_runs_on_the_host_device(tmp_path: Path) -> None:
    told = []
    for engine in ("host", "onnxruntime"):
        words = ["run", str(DEMO / "bearing.bundle"), str(DEMO / "pictures" / "bearing"), "--engine", engine]
        answer = CliRunner().invoke(app, [*words, "--limit", "3", "--save-jsonl", "--out", str(tmp_path / engine)])
        assert answer.exit_code == 0, answer.output
        lines = (tmp_path / engine / "results.jsonl").read_text().splitlines()
        told.append([json.loads(line)["detections"] for line in lines])
    assert told[0] == told[1] and len(told[0]) == 3 and any(told[0])
