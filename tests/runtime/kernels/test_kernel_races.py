"""Races in kernels are found: between threads of a block, between blocks, and none where there is none."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from helpers.example_kernels import BLOCK_SUM, EARLY, MEETING
from helpers.kernel_arrays import launch_of
from helpers.kernel_races import run
from lineside.runtime.kernels.kernel import Kernel

VALUES = np.arange(64, dtype=np.float32)
OUT = np.zeros(4, np.float32)


def reports_of(
    kernel: Kernel, grid: int, block: int, *arguments: npt.NDArray[Any] | float, shared: int = 0
) -> list[str]:
    arrays = [value for value in arguments if isinstance(value, np.ndarray)]
    return list(run(launch_of(kernel, grid, block, *arguments, shared=shared), arrays).reports)


def test_a_kernel_with_its_barriers_is_clean() -> None:
    assert not reports_of(BLOCK_SUM, 2, 32, VALUES, OUT, 64, 1.0, shared=128)
    assert not reports_of(EARLY, 1, 16, np.zeros(16, np.int32), 13)


def test_a_kernel_without_its_barriers_is_reported() -> None:
    broken = dataclasses.replace(BLOCK_SUM, defines=(("WITHOUT_BARRIER", "1"),))
    found = reports_of(broken, 2, 32, VALUES, OUT, 64, 1.0, shared=128)
    assert any("dynamic_shared" in report for report in found)


@pytest.mark.parametrize(("blocks", "threads", "racy"), [(0, 0, False), (1, 0, True), (0, 1, True)])
def test_meetings_in_global_memory_need_atomics(blocks: int, threads: int, racy: bool) -> None:
    found = reports_of(MEETING, 3, 16, np.zeros(4, np.uint32), blocks, threads)
    assert bool(found) == racy
    assert all("Location is heap block" in report for report in found)
