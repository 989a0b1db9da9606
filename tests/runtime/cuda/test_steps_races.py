"""No two threads of a frame's kernels meet in memory without a barrier, and no two blocks without an atomic."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from helpers.frame_steps import Array, Bench
from helpers.kernel_races import run
from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda.parameters import PARAMETERS, Source
from lineside.runtime.cuda.staging import Form
from lineside.runtime.cuda.tables import LEVEL
from lineside.runtime.kernels.host import host_function
from lineside.runtime.kernels.kernel import Launch
from oracle.heads import outputs_of

HEAD = HeadContract(kind="levels", classes=3, coefficients=2, input_size=(96, 64), reg_max=4, strides=(4,))
BLOCKS = 2
"""Along each axis: two blocks show what any two do to each other."""


def pointers_of(bench: Bench) -> list[tuple[int, int]]:
    """Where the parameters and the tables hold addresses."""
    tables = bench.blocks[1]
    first = next(place for place in range(0, tables.size, 256) if holds_levels(tables[place:], bench))
    found = [(0, PARAMETERS.fields["plane"][1] + 8 * index) for index in range(3)]  # type: ignore[index]
    for row in range(len(HEAD.strides)):
        offsets = [LEVEL.fields[name][1] for name in ("box", "cls", "mc")]  # type: ignore[index]
        found += [(1, first + row * LEVEL.itemsize + offset) for offset in offsets]
    return found


def holds_levels(part: Array, bench: Bench) -> bool:
    return int(part[:8].view(np.int64)[0]) in bench.at.outputs


def reports(bench: Bench, launches: list[Launch], memory: list[Array]) -> dict[str, tuple[str, ...]]:
    """What is found in each launch, with memory as the ones before have left it."""
    found = {}
    for number, launch in enumerate(launches):
        few = dataclasses.replace(launch, grid=tuple(min(side, BLOCKS) for side in launch.grid))
        found[f"{number} {launch.kernel.name}"] = run(few, memory, pointers_of(bench)).reports
        host_function(launch.kernel)(launch)
    return {name: races for name, races in found.items() if races}


@pytest.mark.slow
def test_the_kernels_behind_the_engine_are_clean() -> None:
    bench = Bench(HEAD, Form("bgr", (70, 50)), outputs_of(np.random.default_rng(4), HEAD))
    bench.run(conf=0.3, iou=0.1, max_det=6, agnostic=True)  # writes the parameters
    memory = [*bench.blocks, bench.input, *bench.outputs]
    assert not reports(bench, bench.steps.decode(bench.at), memory)
    assert bench.steps.needed(bench.result)
    assert len(bench.steps.read(bench.result)) == 6


@pytest.mark.slow
def test_the_letterbox_is_clean() -> None:
    bench = Bench(HEAD, Form("bgr", (70, 50)), outputs_of(np.random.default_rng(4), HEAD))
    picture = np.random.default_rng(5).integers(0, 256, (70, 50, 3), dtype=np.uint8)
    bench.letterbox(Source((picture.ctypes.data, 0, 0), (150, 0, 0), (3, 0, 0), 1))
    assert not reports(bench, bench.steps.letterbox(bench.at), [*bench.blocks, bench.input, *bench.outputs, picture])
