"""Kernels on the processor of a Jetson's family: stacks, barriers and numbers give there what they give here.

Skips without Debian's cross compiler and emulator, as its neighbour does.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from helpers.example_kernels import BLOCK_SUM, EARLY, NARROW, ROUNDED
from helpers.kernel_arrays import launch_of
from helpers.kernel_program import build_program, job_of
from lineside.runtime.kernels.kernel import Kernel

CROSS, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
RNG = np.random.default_rng(3)
FLOATS = RNG.standard_normal((3, 512)).astype(np.float32)
BITS = RNG.integers(0, 2**32, 512, dtype=np.uint32).view(np.float32)

CASES: list[tuple[Kernel, int, int, list[npt.NDArray[Any] | float], int]] = [
    (BLOCK_SUM, 4, 128, [FLOATS[0], np.zeros(8, np.float32), 500, 1.7], 512),
    (EARLY, 1, 64, [np.zeros(64, np.int32), 50], 0),
    (NARROW, 2, 256, [BITS, np.zeros(512, np.float32), np.zeros(512, np.uint16), 512], 0),
    (ROUNDED, 2, 256, [*FLOATS, np.zeros(512, np.float32), np.zeros(512, np.float32), 512], 0),
]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(CROSS) or not shutil.which(EMULATOR), reason=f"needs {CROSS} and {EMULATOR}")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares with x86-64")
@pytest.mark.parametrize(("kernel", "grid", "block", "arguments", "shared"), CASES)
def test_a_kernel_gives_the_same_bits_on_aarch64(
    kernel: Kernel, grid: int, block: int, arguments: list[npt.NDArray[Any] | float], shared: int, tmp_path: Path
) -> None:
    arrays = [value for value in arguments if isinstance(value, np.ndarray)]
    (tmp_path / "job").write_bytes(job_of(launch_of(kernel, grid, block, *arguments, shared=shared), arrays))
    found = []
    for name, compiler, run in (("x86", "g++", ()), ("arm", CROSS, (EMULATOR,))):
        folder = tmp_path / name
        folder.mkdir()
        built = build_program(kernel, folder, compiler, "-static")
        assert built.returncode == 0, built.stderr
        subprocess.run([*run, folder / "program", tmp_path / "job", folder / "out"], check=True, timeout=60)
        found.append((folder / "out").read_bytes())
    assert found[0] == found[1]
    assert found[0] != b"".join(array.tobytes() for array in arrays)
