"""The training runs of the zoo: interrupted, gone on with, measured."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ultralytics")


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_is_measured(repository: Path, tmp_path: Path) -> None:
    home, figures = tmp_path / "zoo", tmp_path / "figures.json"
    call = [sys.executable, repository / "benchmarks" / "zoo_train.py", "--quick", "--only", "base", "--home", home]
    epoch = home / "runs" / "base-0" / "work" / "weights" / "last.pt"
    with subprocess.Popen([*call, "train"], stdout=subprocess.PIPE, text=True) as first:
        while first.poll() is None and not epoch.is_file():
            select.select([], [], [], 0.05)
        first.send_signal(signal.SIGINT)
    assert not (home / "runs" / "base-0" / "settings.json").is_file()

    again = subprocess.run([*call, "--json", figures], capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "base seed 0: goes on" in again.stdout and "base-0             4 of 4 epochs" in again.stdout
    found = json.loads(figures.read_text())
    entry = found["entries"]["base"]
    assert found["pictures"] == 20 and entry["seeds"] == [0] and entry["latency"]["of_base"] == 1
    assert "over_base" not in entry["mask_map"] and entry["parity"][0]["cosine"] > 0.99999

    third = subprocess.run([*call, "train"], capture_output=True, text=True, timeout=300)
    assert third.returncode == 0 and "started" not in third.stdout and "goes on" not in third.stdout

    (home / "runs" / "base-0" / "model.sha256").write_text("of another model")
    with subprocess.Popen([*call, "train"], stdout=subprocess.PIPE, text=True) as fourth:
        assert fourth.stdout is not None
        assert "has changed since" in fourth.stdout.readline()
        assert "started" in fourth.stdout.readline()
        fourth.send_signal(signal.SIGINT)
