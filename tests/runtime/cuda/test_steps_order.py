"""What depends on how the work is divided among blocks, and on how a number is rounded: the same as on the processor."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.frame_steps import Array, Bench, same
from lineside.runtime import decode
from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda.launches import MASK_BLOCKS, SCAN_BLOCK, YUV_RULES
from lineside.runtime.cuda.staging import Form
from lineside.runtime.errors import NonFiniteOutput
from lineside.runtime.geometry import Letterbox
from oracle.heads import one_box
from oracle.yuv import factors

LARGE = HeadContract(kind="flat", classes=1, coefficients=0, input_size=(1040, 1024), strides=(4,))
"""More blocks of anchors than a block has threads: 260 of 256."""

SMALL = HeadContract(kind="flat", classes=1, coefficients=0, input_size=(32, 32), strides=(16,))


def large() -> Array:
    """A table in which every thousandth anchor sees a box of its own."""
    table = np.zeros((1, 5, LARGE.anchors), np.float32)
    table[0, :2] = np.random.default_rng(0).uniform(20, 1000, (2, LARGE.anchors))
    table[0, 2:4] = 9
    table[0, 4, ::1000] = 0.9
    table[0, 4, -1] = 0.9
    return table


def test_more_blocks_of_anchors_than_threads_in_one() -> None:
    assert LARGE.anchors > SCAN_BLOCK**2 + SCAN_BLOCK
    table, box = large(), Letterbox.fit((70, 90), LARGE.input_size)
    bench = Bench(LARGE, Form("grey", (70, 90)), [table])
    found = bench.decode()
    same(found, decode([table], LARGE, box))
    assert len(found) > 50 and found.anchors.max() == LARGE.anchors - 1
    for late in (300, LARGE.anchors - 2):  # in the second block, and in the last one
        bench.outputs[0][0, 4, late] = np.nan
        with pytest.raises(NonFiniteOutput, match="class scores"):
            bench.decode()
        bench.outputs[0][0, 4, late] = 0
    same(bench.decode(), found)


def test_an_overlap_is_rounded_as_on_the_processor() -> None:
    """With the overlap itself as threshold, and with the number before it: the last bit decides."""
    rng, box = np.random.default_rng(1), Letterbox.fit((32, 32), SMALL.input_size)
    table = np.zeros((1, 5, 4), np.float32)
    bench = Bench(SMALL, Form("grey", (32, 32)), [table])
    kept = []
    for _ in range(60):
        table = bench.outputs[0]
        table[0, :2, :2], table[0, 2:4, :2] = rng.uniform(12, 20, (2, 2)), rng.uniform(6, 20, (2, 2))
        table[0, 4, :2] = 0.9, 0.8
        half = table[0, 2:4, :2] * np.float32(0.5)
        low, high = table[0, :2, :2] - half, table[0, :2, :2] + half
        side = np.maximum(high.min(1) - low.max(1), np.float32(0))
        area, both = np.prod(high - low, 0), side[0] * side[1]
        overlap = np.float32(both / ((area[0] + area[1]) - both))
        for iou in (overlap, np.nextafter(overlap, np.float32(0))):
            found = bench.decode(iou=float(iou))
            same(found, decode(bench.outputs, SMALL, box, iou=float(iou)))
            kept.append(len(found))
    assert kept == [2, 1] * 60


def test_masks_are_solved_by_many_blocks_but_not_by_any_number() -> None:
    few = HeadContract(kind="flat", classes=1, coefficients=1, input_size=(32, 32), strides=(16,))
    many = HeadContract(kind="flat", classes=1, coefficients=1, input_size=(640, 640))
    for head, wanted in ((few, 4 * 2), (many, MASK_BLOCKS)):
        bench = Bench(head, Form("grey", (40, 40)))
        grids = [launch.grid for launch in bench.steps.decode(bench.at) if launch.kernel.name == "masks"]
        assert grids == [(wanted, 1, 1)] * 2


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("span", ["limited", "full"])
def test_factors_of_colours_are_those_of_the_standards(matrix: str, span: str) -> None:
    assert YUV_RULES[matrix, span] == (0 if span == "full" else 16, *factors(matrix, span == "full"))


@pytest.mark.parametrize("side", ["right", "below"])
def test_cells_beside_a_box_are_not_looked_at_where_the_nearest_one_counts(side: str) -> None:
    """Whole pixels of the picture are cells here: a mask of that resolution has nothing to do with the cell behind it."""
    head, table = one_box((8, 8, 24, 24), np.float32([1.0]), (32, 32))
    planes = np.ones((1, 1, 8, 8), np.float32)
    (planes[0, 0, :, 6:] if side == "right" else planes[0, 0, 6:])[...] = np.nan
    box = Letterbox.fit((32, 32), head.input_size)
    found = Bench(head, Form("grey", (32, 32)), [table, planes]).decode(masks="proto")
    same(found, decode([table, planes], head, box, masks="proto"))
    assert len(found) == 1
    with pytest.raises(NonFiniteOutput, match="mask"):
        Bench(head, Form("grey", (32, 32)), [table, planes]).decode(masks="native")


@pytest.mark.parametrize("conf", [0.3, 0.7, 0.1, 0.6, 1e-9, 0.99999997])
def test_a_threshold_is_rounded_as_on_the_processor(conf: float) -> None:
    """Logits whose scores are the threshold in float32, or the numbers beside it."""
    middle = np.float32(np.log(conf / (1 - conf)))
    steps = np.arange(-32, 32) * np.spacing(np.abs(middle))
    kept = kept_of(middle + steps.astype(np.float32) * np.float32(1 if abs(middle) > 1 else 8), conf)
    assert conf > 0.9999 or 0 < kept < 64


def test_thresholds_at_the_ends_of_float32() -> None:
    """Below every score that is not nought; and one that is 1 in float32, which no score exceeds, whatever the logit."""
    small, large = np.linspace(-115, -75, 64), np.geomspace(10, 3e38, 64)
    assert 0 < kept_of(small, 0.0) < 64
    assert 0 < kept_of(small, 1e-40) < kept_of(small, 0.0)
    assert kept_of(large, 0.99999999) == 0 < kept_of(large, 0.999999) <= 64


def kept_of(logits: Array, conf: float) -> int:
    """How many of 64 logits both sides keep, which are the same."""
    head = HeadContract(kind="levels", classes=1, coefficients=0, input_size=(64, 64), strides=(8,), reg_max=1)
    outputs = [np.ones((1, 4, 8, 8), np.float32), logits.astype(np.float32).reshape(1, 1, 8, 8)]
    found = Bench(head, Form("grey", (64, 64)), outputs).decode(conf=conf, iou=1.0)
    same(found, decode(outputs, head, Letterbox.fit((64, 64), head.input_size), conf=conf, iou=1.0))
    return len(found)
