"""Races in kernels are found: between threads of a block, between blocks, and none where there is none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from helpers.example_kernels import BLOCK_SUM, EARLY, MEETING
from helpers.kernel_races import run

VALUES = np.arange(64, dtype=np.float32)
OUT = np.zeros(4, np.float32)


def test_a_kernel_with_its_barriers_is_clean() -> None:
    assert not run(BLOCK_SUM, (2, 1, 1), (32, 1, 1), [VALUES, OUT, 64, 1.0], shared=128).reports
    assert not run(EARLY, (1, 1, 1), (16, 1, 1), [np.zeros(16, np.int32), 13]).reports


def test_a_kernel_without_its_barriers_is_reported() -> None:
    broken = dataclasses.replace(BLOCK_SUM, defines=(("WITHOUT_BARRIER", "1"),))
    found = run(broken, (2, 1, 1), (32, 1, 1), [VALUES, OUT, 64, 1.0], shared=128).reports
    assert any("dynamic_shared" in report for report in found)
    assert any("arrived" in report for report in found)


@pytest.mark.parametrize(("blocks", "threads", "racy"), [(0, 0, False), (1, 0, True), (0, 1, True)])
def test_meetings_in_global_memory_need_atomics(blocks: int, threads: int, racy: bool) -> None:
    place = np.zeros(4, np.uint32)
    found = run(MEETING, (3, 1, 1), (16, 1, 1), [place, blocks, threads]).reports
    assert bool(found) == racy
    assert all("Location is heap block" in report for report in found)
