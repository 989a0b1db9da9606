"""Looks for races in a kernel: a small grid on real threads under ThreadSanitizer, in a process of its own.

Two runs find two kinds. In the first, blocks follow each other, and what counts is every report: threads of one block that
meet in shared or global memory without a barrier between them. In the second, blocks are not ordered, and what counts are
reports about the arguments' memory: blocks that meet there without atomics.

    assert not run(kernel, launch_of(...)).reports
"""

from __future__ import annotations

import functools
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lineside.runtime.kernels.host_build import FLAGS, compiler, write_sources
from lineside.runtime.kernels.kernel import Kernel

MAIN = """
#include <cstdio>
#include <cstdlib>
#include <vector>
// First line of the job: sizes and shared memory; then for each argument its bytes, behind their number (0: a value).
int main(int, char** words) {
  FILE* job = fopen(words[1], "rb");
  unsigned sizes[7], count;
  if (!job || fread(sizes, 4, 7, job) != 7 || fread(&count, 4, 1, job) != 1) return 90;
  std::vector<uint64_t> values(count + 1);
  for (unsigned i = 0; i < count; ++i) {
    uint64_t bytes;
    if (fread(&bytes, 8, 1, job) != 1) return 91;
    void* into = bytes ? malloc(bytes) : &values[i];
    if (bytes) values[i] = reinterpret_cast<uint64_t>(into);
    if (fread(into, 1, bytes ? bytes : 8, job) != (bytes ? bytes : 8)) return 92;
  }
  return lineside_launch(sizes, sizes[6], values.data());
}
"""


@dataclass(frozen=True)
class Races:
    """What ThreadSanitizer says.

    Attributes:
        reports: Its reports that count, each as a text; empty when the kernel is clean.
    """

    reports: tuple[str, ...]


def run(
    kernel: Kernel,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    arguments: Sequence[npt.NDArray[Any] | float],
    shared: int = 0,
) -> Races:
    """Runs a grid under ThreadSanitizer; the arrays are not changed. Skips the test where there is none.

    Args:
        kernel: What to run.
        grid: Blocks; a few are enough.
        block: Threads of a block; 64 are enough, and each is a real thread.
        arguments: An array for each pointer, a number for the rest.
        shared: Bytes of dynamic shared memory.

    Returns:
        What was found.
    """
    program = _program(kernel.fingerprint(), kernel)
    words = [struct.pack("<8I", *grid, *block, shared, len(arguments))]
    for parameter, value in zip(kernel.parameters, arguments, strict=True):
        words.append(_packed(parameter.kind, value))
    with tempfile.NamedTemporaryFile() as job:
        job.write(b"".join(words))
        job.flush()
        within = _reports(program, job.name, "")
        across = [report for report in _reports(program, job.name, "1") if "Location is heap block" in report]
    return Races((*within, *across))


def _packed(kind: str, value: npt.NDArray[Any] | float) -> bytes:
    if isinstance(value, np.ndarray):
        assert kind == "pointer"
        assert value.nbytes
        return struct.pack("<Q", value.nbytes) + value.tobytes()
    return struct.pack("<Qf4x" if kind == "float" else "<Qi4x" if kind == "int" else "<QQ", 0, value)


def _reports(program: Path, job: str, unordered: str) -> list[str]:
    options = "exitcode=66 halt_on_error=0 history_size=4"
    environment = {**os.environ, "TSAN_OPTIONS": options, "LINESIDE_BLOCKS_UNORDERED": unordered}
    command = [str(program), job]
    setarch = shutil.which("setarch")  # some kernels lay memory out in ways that ThreadSanitizer does not know
    if setarch is not None:
        command = [setarch, "-R", *command]
    answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300, env=environment)
    if "unexpected memory mapping" in answer.stderr:
        pytest.skip("ThreadSanitizer does not know how this system lays out memory")
    found = [part for part in answer.stderr.split("==================") if "WARNING: ThreadSanitizer" in part]
    assert answer.returncode == (66 if found else 0), answer.stderr[-2000:]
    return found


@functools.cache
def _program(fingerprint: str, kernel: Kernel) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="lineside-races-"))
    main = write_sources(kernel, folder)
    main.write_text(main.read_text() + MAIN)
    flags = [*FLAGS, "-O1", "-g", "-pthread", "-fsanitize=thread", "-DLINESIDE_HOST_THREADS", "-Wno-tsan"]
    command = [compiler()[0], *flags, "-I.", "-o", "program", main.name]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if answer.returncode and "tsan" in answer.stderr:
        pytest.skip("the C++ compiler has no ThreadSanitizer here")
    assert answer.returncode == 0, answer.stderr
    return folder / "program"
