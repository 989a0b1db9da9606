"""Looks for races in a kernel: a small grid on real threads under ThreadSanitizer, in a process of its own.

Two runs find two kinds. In the first, blocks follow each other, and what counts is every report: threads of one block that
meet in shared or global memory without a barrier between them. In the second, blocks are not ordered, and what counts are
reports about the arguments' memory: blocks that meet there without atomics.

    assert not run(launch_of(kernel, 2, 64, a, b, 3), [a, b]).reports
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.kernel_program import Array, build_program, job_of
from lineside.runtime.kernels.host_build import compiler
from lineside.runtime.kernels.kernel import Kernel, Launch


@dataclass(frozen=True)
class Races:
    """What ThreadSanitizer says.

    Attributes:
        reports: Its reports that count, each as a text; empty when the kernel is clean.
    """

    reports: tuple[str, ...]


def run(launch: Launch, memory: Sequence[Array], pointers: Sequence[tuple[int, int]] = ()) -> Races:
    """Runs a grid under ThreadSanitizer, on copies of the arrays. Skips the test where there is none.

    Args:
        launch: A few blocks of up to some hundred threads, each of them a real thread, with addresses within the arrays.
        memory: All arrays that the kernel reads or writes.
        pointers: Where an array itself holds an address within another: its number and the place in bytes.

    Returns:
        What was found.
    """
    program = _program(launch.kernel.fingerprint(), launch.kernel)
    with tempfile.NamedTemporaryFile() as job:
        job.write(job_of(launch, memory, pointers))
        job.flush()
        within = _reports(program, job.name, "")
        across = [report for report in _reports(program, job.name, "1") if "Location is heap block" in report]
    return Races((*within, *across))


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
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # as long as what is cached here
    flags = ["-O1", "-g", "-pthread", "-fsanitize=thread", "-DLINESIDE_HOST_THREADS", "-Wno-tsan"]
    answer = build_program(kernel, folder, compiler()[0], *flags)
    if answer.returncode and "tsan" in answer.stderr:
        pytest.skip("the C++ compiler has no ThreadSanitizer here")
    assert answer.returncode == 0, answer.stderr
    return folder / "program"
