"""Two minutes of faults by chance: nothing is lost, nothing grows, everything comes back; see ``scripts/soak.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MINUTES = 2


@pytest.mark.slow
def test_nothing_is_found_in_two_minutes(repository: Path) -> None:
    command = [sys.executable, str(repository / "scripts" / "soak.py"), "--minutes", str(MINUTES), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert not result["findings"] and done.returncode == 0, result["findings"]
    assert sum(result["faults"].values()) >= 10 and len(result["faults"]) >= 5, "it was not put to the test"
    assert result["snapshots"] >= 400 and all(counts["inspected"] > 20 for counts in result["sources"].values())
    assert "Traceback" not in done.stderr, done.stderr
