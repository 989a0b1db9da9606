"""The benchmarks run, and what they print is what they measured; no test here looks at how fast anything is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PARTS = ("letterbox", "postprocess", "graph", "loop")


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
    gains = re.findall(r"([\d.]+)x \| [^|]*\|$", answer.stdout, re.MULTILINE)
    assert len(gains) >= 10
    assert all(float(gain) > 0 for gain in gains)
    letterbox = figures["parts"]["letterbox"]["images"]["1080p"]
    median = letterbox["ms"]["lineside"]["median"]
    assert f"{median:.2f} ms" in answer.stdout
    for scene in figures["parts"]["postprocess"]["scenes"].values():
        # Six anchors see each object, and the two sides need not agree on every overlap near the threshold.
        assert scene["found"]["lineside"] == pytest.approx(scene["found"]["peer"], rel=0.02)
        assert scene["found"]["mean_iou"] > 0.95


def test_an_unknown_part_is_refused(repository: Path) -> None:
    answer = run(repository, "--only", "letterbox,speed")
    assert answer.returncode == 2
    assert "speed" in answer.stderr
