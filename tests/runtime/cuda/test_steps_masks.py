"""The mask kernels: the spans of the native core, at every scale, and few bytes to copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.frame_steps import Array, Bench, same
from lineside.runtime import decode
from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda.results import HEADER, RECORD
from lineside.runtime.cuda.staging import Form
from lineside.runtime.cuda.steps import Limits
from lineside.runtime.geometry import Letterbox, Size
from oracle import masks as oracle
from oracle.heads import one_box, outputs_of, prototypes

MODES = ("native", "proto")


def planted(head: HeadContract, size: Size, boxes: Array, planes: Array, coefficients: Array) -> list[Array]:
    """Outputs of a flat head that sees exactly these objects: xyxy in pixels of the picture, best first."""
    table = np.zeros((1, 5 + head.coefficients, head.anchors), np.float32)
    inside = Letterbox.fit(size, head.input_size).to_input(boxes.astype(np.float32))
    n = len(boxes)
    table[0, 0, :n], table[0, 1, :n] = (inside[:, 0] + inside[:, 2]) / 2, (inside[:, 1] + inside[:, 3]) / 2
    table[0, 2, :n], table[0, 3, :n] = inside[:, 2] - inside[:, 0], inside[:, 3] - inside[:, 1]
    table[0, 4, :n] = np.linspace(0.95, 0.5, n)
    table[0, 5:, :n] = coefficients.T
    return [table, planes]


def discs(head: HeadContract, size: Size, boxes: Array) -> tuple[Array, Array]:
    """Prototypes and coefficients with which each object is a disc that fills its box: a paraboloid has four terms."""
    high, wide = head.protos_size
    y, x = np.mgrid[:high, :wide].astype(np.float32) / np.float32(max(high, wide))
    planes = np.stack([x * x + y * y, x, y, np.ones_like(x)])[None]
    inside = Letterbox.fit(size, head.input_size).to_input(boxes.astype(np.float32)) / 4 - 0.5
    inside /= max(high, wide)
    cx, cy = (inside[:, 0] + inside[:, 2]) / 2, (inside[:, 1] + inside[:, 3]) / 2
    radius = np.minimum(inside[:, 2] - inside[:, 0], inside[:, 3] - inside[:, 1]) / 2
    terms = np.stack([-np.ones_like(cx), 2 * cx, 2 * cy, radius**2 - cx**2 - cy**2], 1)
    return planes.astype(np.float32), terms.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    input_size=st.sampled_from([(32, 32), (64, 96), (160, 32)]),
    corners=st.tuples(*[st.floats(-20, 180, width=32) for _ in range(4)]),
    planes=st.sampled_from(["smooth", "noise", "whole"]),
    mode=st.sampled_from(MODES),
    seed=st.integers(0, 2**16),
)
def test_one_mask_has_the_spans_of_the_processor_and_the_pixels_of_the_rule(
    size: Size, input_size: Size, corners: tuple[float, ...], planes: str, mode: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    head, table = one_box(corners, rng.standard_normal(6).astype(np.float32), input_size)
    outputs = [table, prototypes(rng, head, planes)]
    found = Bench(head, Form("bgr", size), outputs).decode(masks=mode)
    same(found, decode(outputs, head, Letterbox.fit(size, input_size), masks=mode))
    assert found.masks is not None
    x0, y0, rows = oracle.mask_of(outputs[1][0], table[0, 5:, 0], found.boxes[0], size, input_size, mode)
    whole = np.zeros(size, bool)
    whole[y0 : y0 + rows.shape[0], x0 : x0 + rows.shape[1]] = rows
    assert (found.masks[0].to_array() != whole).sum() <= (2 if mode == "native" else 0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (7, 5), (64, 64), (2100, 64), (450, 800)])
def test_pictures_much_smaller_and_much_larger_than_the_input(size: Size, mode: str) -> None:
    head = HeadContract(kind="levels", classes=2, coefficients=8, input_size=(64, 96))
    outputs = outputs_of(np.random.default_rng(4), head)
    options: dict[str, Any] = {"masks": mode, "conf": 0.1, "max_det": 60}
    same(
        Bench(head, Form("bgr", size), outputs).decode(**options),
        decode(outputs, head, Letterbox.fit(size, head.input_size), **options),
    )


def test_noise_with_many_spans_in_a_row() -> None:
    rng = np.random.default_rng(0)
    head, table = one_box((0, 0, 128, 128), rng.standard_normal(4).astype(np.float32), (128, 128))
    outputs = [table, prototypes(rng, head, "noise")]
    found = Bench(head, Form("bgr", (640, 640)), outputs).decode()
    same(found, decode(outputs, head, Letterbox.fit((640, 640), (128, 128))))
    assert found.masks is not None
    _, counts = np.unique(found.masks.spans[:, 0], return_counts=True)
    assert counts.max() > 5


def test_masks_between_detections_without_any() -> None:
    """Boxes outside the picture, turned inside out, and values of one sign, beside full masks."""
    head = HeadContract(kind="flat", classes=1, coefficients=4, input_size=(64, 64))
    boxes = np.array(
        [[-50, -50, -10, -10], [10, 10, 50, 60], [40, 40, 20, 20], [0, 0, 64, 64], [5.2, 5, 5.8, 9], [60, 0, 64, 64.0]]
    )
    coefficients = np.array([[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, -1], [0, 0, 0, 1], [0, 0, 0, 1.0]])
    planes, _ = discs(head, (64, 64), boxes)
    outputs = planted(head, (64, 64), boxes, planes, coefficients)
    found = Bench(head, Form("bgr", (64, 64)), outputs).decode(iou=1.0)
    same(found, decode(outputs, head, Letterbox.fit((64, 64), (64, 64)), iou=1.0))
    assert found.masks is not None
    assert [mask.area for mask in found.masks] == [0, 40 * 50, 0, 0, 0, 4 * 64]


def line_of_parts(count: int, size: Size) -> Array:
    """Boxes of parts that fill a picture in rows, xyxy."""
    high, wide = size
    columns = 10
    rows = -(-count // columns)
    cell_w, cell_h = wide / columns, high / rows
    at = np.array([(i % columns * cell_w, i // columns * cell_h) for i in range(count)])
    return np.concatenate([at + 4, at + np.array([cell_w - 4, cell_h - 4])], 1)


@pytest.mark.parametrize("mode", MODES)
def test_fifty_objects_in_full_hd_come_back_in_64_kilobytes(mode: str) -> None:
    size = (1080, 1920)
    head = HeadContract(kind="flat", classes=1, coefficients=4, input_size=(640, 640))
    boxes = line_of_parts(50, size)
    outputs = planted(head, size, boxes, *discs(head, size, boxes))
    bench = Bench(head, Form("bgr", size), outputs)
    found = bench.decode(masks=mode)
    same(found, decode(outputs, head, Letterbox.fit(size, head.input_size), masks=mode))
    assert found.masks is not None
    assert len(found) == 50
    assert min(mask.area for mask in found.masks) > 20_000  # discs of 170 pixels and more across
    needed = bench.steps.needed(bench.result)
    assert needed is not None
    assert (
        needed == HEADER.itemsize + 50 * RECORD.itemsize + 4 * bench.result[: HEADER.itemsize].view(HEADER)["words"][0]
    )
    assert needed <= bench.steps.first_bytes <= 64 << 10  # one copy, and nothing more


def test_a_mask_costs_four_bytes_a_row() -> None:
    head, table = one_box((0, 0, 64, 64), np.array([1], np.float32), (64, 64))
    bench = Bench(head, Form("bgr", (200, 200)), [table, np.ones((1, 1, 16, 16), np.float32)])
    found = bench.decode()
    assert found.masks is not None
    assert found.masks[0].area == 200 * 200
    assert bench.steps.needed(bench.result) == HEADER.itemsize + RECORD.itemsize + 4 * 200


def test_a_large_result_is_read_from_as_many_bytes_as_it_says() -> None:
    head = HeadContract(kind="levels", classes=1, coefficients=4, input_size=(96, 96))
    outputs = outputs_of(np.random.default_rng(2), head, planes="noise")
    bench = Bench(head, Form("bgr", (400, 400)), outputs, Limits(first=4096))
    wanted = decode(outputs, head, Letterbox.fit((400, 400), (96, 96)))
    bench.run()
    needed = bench.steps.needed(bench.result[: bench.steps.first_bytes])
    assert needed is not None
    assert bench.steps.first_bytes == 4096 < needed < bench.steps.result_bytes
    same(bench.steps.read(bench.result[:needed].copy()), wanted)


@pytest.mark.parametrize("limits", [Limits(detections=3), Limits(words=500)], ids=["detections", "words"])
def test_a_result_without_room_says_so_and_the_next_one_is_whole(limits: Limits) -> None:
    head = HeadContract(kind="levels", classes=1, coefficients=4, input_size=(96, 96))
    outputs = outputs_of(np.random.default_rng(2), head, planes="noise")
    bench = Bench(head, Form("bgr", (400, 400)), outputs, limits)
    bench.run()
    assert bench.steps.needed(bench.result) is None
    few: dict[str, Any] = {"max_det": 1, "masks": "none"}
    same(bench.decode(**few), decode(outputs, head, Letterbox.fit((400, 400), (96, 96)), **few))


def test_room_is_used_to_the_last_place() -> None:
    head = HeadContract(kind="levels", classes=1, coefficients=4, input_size=(96, 96))
    outputs = outputs_of(np.random.default_rng(2), head, planes="smooth")
    wanted = decode(outputs, head, Letterbox.fit((100, 150), (96, 96)))
    bench = Bench(head, Form("bgr", (100, 150)), outputs)
    bench.decode()
    words = int(bench.result[: HEADER.itemsize].view(HEADER)["words"][0])
    just = Bench(head, Form("bgr", (100, 150)), outputs, Limits(detections=len(wanted), words=words))
    same(just.decode(), wanted)
    for less in (Limits(detections=len(wanted) - 1, words=words), Limits(detections=len(wanted), words=words - 1)):
        bench = Bench(head, Form("bgr", (100, 150)), outputs, less)
        bench.run()
        assert bench.steps.needed(bench.result) is None


@pytest.mark.parametrize("width", [9792, 16384])
def test_rows_of_prototypes_that_hardly_fit_into_shared_memory(width: int) -> None:
    rng = np.random.default_rng(0)
    head, table = one_box((0, 0, width, 32), rng.standard_normal(2).astype(np.float32), (32, width))
    outputs = [table, prototypes(rng, head, "smooth")]
    bench = Bench(head, Form("bgr", (20, 9000)), outputs)
    (launch, _) = (launch for launch in bench.steps.decode(bench.at) if launch.kernel.name == "masks")
    assert 8 * width // 4 <= launch.shared < 48 << 10
    same(bench.decode(), decode(outputs, head, Letterbox.fit((20, 9000), (32, width))))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("side", [16, 24, 32, 48])
def test_values_that_are_nought_at_the_centre_of_a_pixel(side: int, mode: str) -> None:
    """Small whole numbers, two to six pixels a cell: what is nought is no part of a mask, and a guess is off by one there."""
    head, table = one_box((0, 0, 32, 32), np.float32([1]), (32, 32))
    for seed in range(12):
        values = np.random.default_rng(seed).choice(np.float32([-5, -3, -2, -1, 0, 0, 1, 2, 3, 5]), head.protos_size)
        outputs = [table, values[None, None]]
        wanted = decode(outputs, head, Letterbox.fit((side, side), (32, 32)), masks=mode)
        same(Bench(head, Form("bgr", (side, side)), outputs).decode(masks=mode), wanted)
