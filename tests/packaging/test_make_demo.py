"""``make demo`` in a fresh folder with a space in its name: what a stranger types first."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from helpers.checkout import export_tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NO_NETWORK = """
import socket

def refuse(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(("127.", "::1", "localhost")):
        raise OSError(f"the network is off, and something asked for {address}")
    return connect(self, address)

connect, socket.socket.connect = socket.socket.connect, refuse
"""
"""A sitecustomize module: every Python process refuses connections that leave the machine."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, as a clone would have them."""
    folder = tmp_path_factory.mktemp("a fresh") / "line side"
    export_tree(folder)
    return folder


def make(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    dropped = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "VIRTUAL_ENV", "PYTHONPATH")
    environment = (
        {name: value for name, value in os.environ.items() if name not in dropped}
        | {"LINESIDE_SYSTEM": "no"}
        | variables
    )
    command = ["make", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900
    )


def test_a_fresh_folder_installs_once_and_then_shows_the_main_job_without_network(checkout: Path) -> None:
    first = make(checkout, "env")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "installing lineside[cpu,station]" in first.stdout
    python = checkout / ".venv/bin/python"
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "onnxruntime==" in listed
    assert not [
        line
        for line in listed.splitlines()
        if line.split("==")[0] in {"torch", "onnx", "ultralytics", "ultralytics-opencv-headless"}
    ]

    guard = checkout.parent / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(NO_NETWORK)
    demo = make(checkout, "demo", PYTHONPATH=str(guard), COLUMNS="120")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "installing" not in demo.stdout
    for word in ("bearing", "tube", "overlay", ".xlsx", "--view"):
        assert word in demo.stdout


def test_a_changed_source_is_installed_again(checkout: Path) -> None:
    assert make(checkout, "env").returncode == 0
    errors = checkout / "runtime/errors.py"
    errors.write_text(errors.read_text() + "\nMARK = 'changed'\n")
    again = make(checkout, "env")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "installing" in again.stdout
    script = "from lineside.runtime import errors; print(errors.MARK, errors.__file__)"
    answer = subprocess.run(
        [checkout / ".venv/bin/python", "-c", script], cwd=checkout.parent, capture_output=True, text=True, timeout=60
    )
    assert answer.stdout.startswith(f"changed {checkout / '.venv'}")
