"""What tests fetch from the package index: once for all processes, else the test is skipped and says why."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

LIMIT = 300.0
"""Seconds that one package may take."""


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder as ``make`` fills it: by one process, which the others wait for; anew where it was cut off."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "ready").touch()
    return folder


def pip(package: str, *words: str) -> None:
    """Runs pip for a package."""
    command = [sys.executable, "-m", "pip", *words, package]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        reason = (answer.stderr.strip().splitlines() or ["no reason given"])[-1] if answer.returncode else ""
    except subprocess.TimeoutExpired:
        reason = "it took more than five minutes"
    if reason:
        pytest.skip(f"{package} cannot be fetched from the package index: {reason}")


def unpack(package: str, folder: Path) -> None:
    """Lays the content of a package's wheel into a folder, without installing it."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pip(package, "download", "--no-deps", "--only-binary=:all:", "--quiet", "-d", scratch)
        for wheel in Path(scratch).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
