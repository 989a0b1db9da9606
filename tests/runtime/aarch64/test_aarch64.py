"""The native core elsewhere: compiled for aarch64, a Jetson's family, and run in an emulator, it gives the same bits, and
so it does where no vector instructions are used.

Debian's cross compiler and emulator are not part of what a test run installs; without them the first of these skips.
``apt-get install g++-aarch64-linux-gnu qemu-user-static`` brings them.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

CROSS, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-Werror", "-static")
"""As in CMakeLists.txt, static, and with every warning an error."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="compares with x86-64"),
]


def answers(repository: Path, folder: Path, compiler: tuple[str, ...], run: tuple[str, ...]) -> list[str]:
    """Compiles the core with the probe and returns the lines that it prints."""
    native = repository / "runtime/native"
    sources = [path for path in sorted(native.glob("*.cpp")) if not path.name.startswith(("bind_", "module"))]
    program = folder / "probe"
    subprocess.run(
        [*compiler, *FLAGS, f"-I{native}", *sources, Path(__file__).with_name("probe.cpp"), "-o", program], check=True
    )
    return subprocess.run([*run, program], capture_output=True, text=True, check=True, timeout=300).stdout.splitlines()


def test_the_core_gives_the_same_bits_without_vectors(repository: Path, tmp_path: Path) -> None:
    """The plain loops, which do all the work on other processors, against the vector forms of this one."""
    vectors, plain = tmp_path / "vectors", tmp_path / "plain"
    vectors.mkdir()
    plain.mkdir()
    fast = answers(repository, vectors, ("g++", "-march=x86-64-v2"), ())
    assert len([line for line in fast if line.startswith("yuv")]) == 32
    assert answers(repository, plain, ("g++", "-march=x86-64-v2", "-DLINESIDE_NO_SIMD"), ()) == fast


@pytest.mark.skipif(not shutil.which(CROSS) or not shutil.which(EMULATOR), reason=f"needs {CROSS} and {EMULATOR}")
def test_the_core_gives_the_same_bits_on_aarch64(repository: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "x86", tmp_path / "aarch64"
    here.mkdir()
    there.mkdir()
    x86 = answers(repository, here, ("g++", "-march=x86-64-v2", "-mtune=generic"), ())
    arm = answers(repository, there, (CROSS,), (EMULATOR,))
    assert len([line for line in x86 if line.startswith("letterbox")]) == 36
    assert len([line for line in x86 if line.startswith("yuv")]) == 32
    assert len([line for line in x86 if line.startswith("  mask")]) > 30
    assert arm == x86
