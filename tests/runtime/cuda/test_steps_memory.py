"""Sizes at which a block of memory that is one place too short would be written over: nothing else would show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helpers.frame_steps import Array, Bench, same
from lineside.runtime import decode
from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda.blocks import Layout
from lineside.runtime.cuda.results import HEADER, RECORD
from lineside.runtime.cuda.staging import Form
from lineside.runtime.cuda.steps import Addresses, FrameSteps, Limits
from lineside.runtime.errors import BadOption
from lineside.runtime.geometry import Letterbox
from oracle.heads import outputs_of

PICTURE = (90, 70)


def agree(head: HeadContract, outputs: list[Array], limits: Limits | None = None, **options: Any) -> int:
    """How many detections both sides found, which are the same."""
    found = Bench(head, Form("bgr", PICTURE), outputs, limits).decode(**options)
    same(found, decode(outputs, head, Letterbox.fit(PICTURE, head.input_size), **options))
    return len(found)


@pytest.mark.parametrize("side", [8, 24, 40, 56])
@pytest.mark.parametrize("masks", ["native", "proto"])
def test_prototypes_whose_rows_are_no_multiple_of_what_a_block_solves(side: int, masks: str) -> None:
    """Two rows to fourteen, where a block takes four; every mask has all of them."""
    head = HeadContract(kind="flat", classes=1, coefficients=2, input_size=(side, side), strides=(8,))
    outputs = outputs_of(np.random.default_rng(side), head, planes="noise")
    outputs[0][0, :4] = np.float32([[side / 2], [side / 2], [side], [side]])
    outputs[0][0, 4] = np.linspace(0.4, 0.9, head.anchors)
    assert agree(head, outputs, iou=1.0, masks=masks) == head.anchors


def test_as_many_masks_as_fill_the_list_of_their_first_pieces() -> None:
    """64 numbers of four bytes end where the next array begins, and there is one more than there are detections."""
    head = HeadContract(kind="flat", classes=1, coefficients=2, input_size=(64, 64), strides=(8,))
    assert head.anchors == 64
    outputs = outputs_of(np.random.default_rng(0), head, planes="noise")
    outputs[0][0, :2] = np.random.default_rng(1).uniform(10, 50, (2, 64))
    outputs[0][0, 2:5] = np.float32([[30], [30], [0.5]])
    assert agree(head, outputs, iou=1.0) == 64


def test_as_many_levels_as_fill_more_than_the_least_block() -> None:
    head = HeadContract(
        kind="levels", classes=2, coefficients=2, input_size=(64, 64), strides=(2, 4, 8, 16, 32, 64), reg_max=2
    )
    outputs = outputs_of(np.random.default_rng(2), head)
    outputs[3 * 5 + 1][:] = 9.0  # the one anchor of the last level, whose row lies across the end
    assert agree(head, outputs, conf=0.6, iou=0.5) > 5


def test_a_small_model_has_a_small_result() -> None:
    """On the device too: no more places than it has anchors, and none for masks where it makes none."""
    boxes = HeadContract(kind="flat", classes=1, coefficients=0, input_size=(32, 32), strides=(16,))
    steps = FrameSteps(boxes, Form("grey", PICTURE))
    assert steps.result_bytes == steps.first_bytes == HEADER.itemsize + 4 * RECORD.itemsize
    masks = HeadContract(kind="flat", classes=1, coefficients=1, input_size=(32, 32), strides=(16,))
    steps = FrameSteps(masks, Form("grey", PICTURE), limits=Limits(words=10))
    assert steps.result_bytes == HEADER.itemsize + 4 * RECORD.itemsize + 4 * 10


def test_a_table_without_rows_is_refused() -> None:
    head = HeadContract(kind="end2end", classes=1, coefficients=0, input_size=(32, 32))
    for rows in (None, 0, -1):
        with pytest.raises(BadOption, match="number of rows"):
            FrameSteps(head, Form("grey", PICTURE), rows=rows)


@pytest.mark.parametrize("kind", ["levels", "flat"])
def test_every_array_begins_where_every_device_can_read_it(kind: Any) -> None:
    """The processor reads a number anywhere; a GPU faults."""
    head = HeadContract(kind=kind, classes=3, coefficients=2, input_size=(32, 96), reg_max=5)
    steps = FrameSteps(head, Form("nv12", PICTURE, "bt601", "full"), limits=Limits(detections=3))
    blocks = {
        name: place << 30 for place, name in enumerate(("parameters", "tables", "work", "result", "input"), start=1)
    }
    at = Addresses(**blocks, outputs=tuple(1 << (40 + index) for index in range(len(head.output_names))))
    seen = set()
    for launch in (*steps.letterbox(at), *steps.decode(at)):
        for parameter, value in zip(launch.kernel.parameters, launch.arguments, strict=True):
            if parameter.kind == "pointer":
                assert value % 256 == 0, parameter.name
                seen.add(value)
    assert len(seen) > 15
    assert Layout({}).nbytes == 1, "nobody can allocate nothing"
