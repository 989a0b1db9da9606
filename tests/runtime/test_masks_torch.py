"""Masks beside ultralytics' own at picture resolution, computed by torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lineside.runtime.contract import HeadContract
from lineside.runtime.detections import Detections
from lineside.runtime.geometry import Letterbox
from lineside.runtime.postprocess import decode

torch = pytest.importorskip("torch", reason="torch computes the masks that these are compared with")
ops = pytest.importorskip("ultralytics.utils.ops", reason="ultralytics' rule is what these are compared with")

INPUT = (640, 640)


def scene(image_size: tuple[int, int], seed: int) -> tuple[Detections, list[Any]]:
    """Thirty objects of all sizes inside the picture, on smooth prototypes."""
    rng = np.random.default_rng(seed)
    head = HeadContract(kind="flat", classes=1, coefficients=32, input_size=INPUT)
    box = Letterbox.fit(image_size, INPUT)
    (nh, nw), (left, top) = box.content_size, box.pad
    table = np.zeros((1, 37, 8400), np.float32)
    table[0, 0, :30], table[0, 1, :30] = rng.uniform(left, left + nw, 30), rng.uniform(top, top + nh, 30)
    table[0, 2:4, :30] = 2 ** rng.uniform(3, 8.5, (2, 30))
    table[0, 4, :30] = rng.uniform(0.3, 1, 30)
    table[0, 5:, :30] = rng.standard_normal((32, 30))
    coarse = torch.from_numpy(rng.standard_normal((1, 32, 20, 20)).astype(np.float32))
    protos = torch.nn.functional.interpolate(coarse, (160, 160), mode="bicubic").numpy()
    return decode([table, protos], head, box, iou=1.0), [table, protos]


def theirs(found: Detections, outputs: list[Any]) -> Any:
    table, protos = outputs
    coefficients = torch.from_numpy(table[0, 5:, found.anchors].copy())
    boxes = torch.from_numpy(found.boxes.copy())
    return (
        ops.process_mask_native(torch.from_numpy(protos[0]), coefficients, boxes, found.image_size).numpy().astype(bool)
    )


@pytest.mark.parametrize("image_size", [(1080, 1920), (1200, 1920), (960, 1280), (640, 640), (1920, 1080)])
def test_equal_where_content_and_padding_are_whole_cells(image_size: tuple[int, int]) -> None:
    found, outputs = scene(image_size, 0)
    assert found.masks is not None and len(found) == 30
    differing = pixels = 0
    for mask, table in zip(found.masks, theirs(found, outputs), strict=True):
        differing += int((mask.to_array() != table).sum())
        pixels += int(table.sum())
    # Torch adds up in another order: where the value is zero to the last bits the sign may differ.
    assert pixels > 100_000 and differing <= pixels * 2e-5, f"{differing} of {pixels} pixels"


@pytest.mark.parametrize("image_size", [(717, 1283), (480, 640), (1001, 777), (333, 333), (2048, 2448)])
def test_close_at_other_sizes(image_size: tuple[int, int]) -> None:
    found, outputs = scene(image_size, 1)
    assert found.masks is not None and len(found) == 30
    overlaps = []
    for mask, table in zip(found.masks, theirs(found, outputs), strict=True):
        mine = mask.to_array()
        if (mine | table).any():
            overlaps.append((mine & table).sum() / (mine | table).sum())
    assert len(overlaps) >= 20 and np.mean(overlaps) >= 0.99, np.round(overlaps, 3)
