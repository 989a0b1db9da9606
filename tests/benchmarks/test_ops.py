"""The benchmark of operators runs, and compares what computes the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_every_comparison_runs_and_agrees(repository: Path) -> None:
    words = [sys.executable, repository / "benchmarks/ops.py", "--quick", "--threads", "1"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=500)
    assert answer.returncode == 0, answer.stderr
    rows = [line for line in answer.stdout.splitlines()[2:] if line]
    assert any(row.startswith("| SelectiveScan") for row in rows)
    for row in rows:
        ours, plain = (int(count) for count in re.search(r"\| (\d+), not (\d+) \|", row).groups())
        assert "SelectiveScan" not in row or ours < 100 < 3000 < plain
        assert float(row.rstrip(" |").rpartition("| ")[2]) < 1e-4
