"""The benchmarks run, and what they print is what they measured; no test here looks at how fast anything is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lineside.export.ops.table import OPS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PARTS = ("letterbox", "postprocess", "agreement", "graph", "loop", "start", "size")


def run(repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, repository / "benchmarks/runtime.py", *words], capture_output=True, text=True, timeout=1000
    )


def test_all_parts_run_and_leave_figures(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    answer = run(repository, "--quick", "--out", str(out))
    assert answer.returncode == 0, answer.stderr
    figures = json.loads(out.read_text())
    assert tuple(figures["parts"]) == PARTS
    assert figures["machine"]["cores"] >= 1
    gains = re.findall(r"\| ([\d.]+)(?:x| of the time| of the rate) \|", answer.stdout)
    assert len(gains) >= 8
    assert all(float(gain) > 0 for gain in gains)
    assert "not to be quoted" in answer.stdout
    letterbox = figures["parts"]["letterbox"]["images"]["1080p"]
    median = letterbox["ms"]["lineside"]["median"]
    assert f"{median:.2f} ms" in answer.stdout
    decoded = figures["parts"]["letterbox"]["yuv"]
    assert set(decoded) == {"1080p NV12", "1080p I420", "5 MP NV12", "5 MP I420"}
    for one in decoded.values():
        ours, opencv = (
            max(apart["most"] for way, apart in one["difference"].items() if name in way)
            for name in ("lineside", "cvtColor")
        )
        assert ours == 0 and opencv <= 1, one["difference"]
    for scene in figures["parts"]["postprocess"]["scenes"].values():
        counts = {way: one["found"] for way, one in scene["agreement"].items()}
        assert len(set(counts.values())) == 1, counts
        assert all(one.get("mean_iou", 1.0) > 0.95 for one in scene["agreement"].values())
    for mode in figures["parts"]["loop"]["bundles"]["YOLO11n-seg 640"]["modes"].values():
        assert mode["loop_fps"] > 0 and mode["engine_cpu_ms"] > 0


def test_an_unknown_part_is_refused(repository: Path) -> None:
    answer = run(repository, "--only", "letterbox,speed")
    assert answer.returncode == 2
    assert "speed" in answer.stderr


def test_bodies_of_operators_and_the_forms_beside_them_agree(repository: Path) -> None:
    command = [sys.executable, repository / "benchmarks/ops.py", "--tiny", "--quick", "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=1000)
    assert answer.returncode == 0, answer.stderr
    results = json.loads(answer.stdout)
    assert {one["op"].partition("_")[0] for one in results} == set(OPS)
    for one in results:
        assert one["difference"] < 1e-4
        assert {"body", "naive"} <= set(one["ms"]) and one[
            "gain"
        ] >= 0  # of so little work it may be rounded to nothing
        assert ("DeformConv" in one["ms"]) == one["op"].startswith("ModDeformConv2d")
