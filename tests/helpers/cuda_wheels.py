"""NVIDIA's compilers without a GPU and without an installation: NVRTC and ptxas of two versions, out of their packages."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from helpers.fetched import once, unpack

ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / "build" / "cuda"

PACKAGES = {
    ("nvrtc", "12.6"): ("nvidia-cuda-nvrtc-cu12", "12.6.85", "libnvrtc.so.12"),
    ("nvrtc", "13.0"): ("nvidia-cuda-nvrtc", "13.0.88", "libnvrtc.so.13"),
    ("ptxas", "12.6"): ("nvidia-cuda-nvcc-cu12", "12.6.85", "ptxas"),
    ("ptxas", "13.0"): ("nvidia-cuda-nvcc", "13.0.88", "ptxas"),
}
"""Package, version and file. 12.6 is what JetPack 6 has: what its ptxas takes, the driver there takes."""


def nvrtc(version: str) -> Path:
    """The libnvrtc of a version, ``12.6`` or ``13.0``; fetched once, else the test is skipped and says why."""
    return _file("nvrtc", version)


def ptxas(version: str) -> Path:
    """The assembler of a version; fetched once, else the test is skipped and says why."""
    path = _file("ptxas", version)
    path.chmod(0o755)
    return path


def _file(tool: str, version: str) -> Path:
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("NVIDIA's compilers are fetched for Linux on x86-64 and aarch64")
    package, exact, name = PACKAGES[tool, version]
    folder = STORE / f"{package}-{exact}-{platform.machine()}"
    once(folder, lambda place: unpack(f"{package}=={exact}", place))
    found = sorted(folder.rglob(name))
    assert found, f"{package} {exact} has no {name}"
    return found[0]
