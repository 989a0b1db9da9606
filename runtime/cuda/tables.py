"""What the kernels need of a model and a picture size: made once on the host, and uploaded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lineside.runtime.contract import HeadContract

__all__ = [
    "LEVEL",
    "PLAN",
    "cell_range",
    "cells_per_pixel",
    "level_rows",
    "linear_axis",
    "mask_axis",
    "mask_axis_bytes",
]

KINDS = {"levels": 0, "flat": 1, "end2end": 2}

PLAN = np.dtype(
    [
        *((name, "<i4") for name in ("kind", "classes", "coefficients", "reg_max", "levels", "anchors", "blocks")),
        *((name, "<i4") for name in ("detections", "words", "image_h", "image_w", "protos_h", "protos_w")),
        *((name, "<i4") for name in ("last_u", "last_v", "bands", "left", "top")),
        *((name, "<f4") for name in ("scale_x", "scale_y", "pixels_per_cell")),
    ]
)
"""``Plan`` of frame.cuh."""

LEVEL = np.dtype(
    [
        *((name, "<i8") for name in ("box", "cls", "mc", "plane")),
        *((name, "<i4") for name in ("step", "first", "columns")),
        ("stride", "<f4"),
    ]
)
"""``Level`` of frame.cuh."""


def linear_axis(source: int, target: int) -> npt.NDArray[np.int32]:
    """For each target coordinate, the source coordinate before it times 256, plus the weight of the next one.

    The rule is that of the native core: ``(d + 0.5) * (1.0 / (target / source)) - 0.5`` in double, weights in 256ths,
    rounded half to even.

    Args:
        source: Pixels of the picture along an axis.
        target: Pixels of the content.

    Returns:
        ``(target,)`` int32.
    """
    at = (np.arange(target) + 0.5) * (1.0 / (target / source)) - 0.5
    before = np.floor(at)
    weight = np.rint((at - before) * 256)
    weight[(before < 0) | (before >= source - 1)] = 0
    return np.asarray(np.clip(before, 0, source - 1) * 256 + weight, np.int32)  # a weight of 256 is the next coordinate


def cell_range(pad: int, content: int, side: int, cells: int) -> tuple[int, int]:
    """The prototype cells along an axis that the content covers.

    Args:
        pad: Pixels of the input before the content.
        content: Pixels of the content.
        side: Pixels of the input.
        cells: Of the prototypes.

    Returns:
        The first cell, and one past the last.
    """
    return pad * cells // side, -(-(pad + content) * cells // side)


def cells_per_pixel(scale: float, side: int, cells: int) -> float:
    """Prototype cells per pixel of the picture along an axis.

    Args:
        scale: Input pixels per picture pixel.
        side: Pixels of the input.
        cells: Of the prototypes.
    """
    return scale * (cells / side)


def mask_axis_bytes(pixels: int, cells: int) -> int:
    """Bytes of what `mask_axis` gives.

    Args:
        pixels: Of the picture.
        cells: Of the prototypes.
    """
    return 4 * 2 * (2 * pixels + cells + 1)


def mask_axis(pixels: int, scale: float, pad: int, content: int, side: int, cells: int) -> npt.NDArray[np.int32]:
    """Where each pixel of one axis falls among the prototype cells, for both kinds of masks.

    Args:
        pixels: Of the picture.
        scale: Input pixels per picture pixel.
        pad: Of the input, before the content.
        content: Pixels of the content.
        side: Pixels of the input.
        cells: Of the prototypes.

    Returns:
        int32: for native masks the cell at or before each pixel, the bits of the share (float32) of the next cell, and for
        each cell and one more the first pixel that is not before it; then the same for masks at prototype resolution.
    """
    low, high = cell_range(pad, content, side, cells)
    ratio = cells / side
    parts: list[npt.NDArray[np.int32]] = []
    for shift in (0.5, 0.0):
        at = np.clip(((np.arange(pixels) + 0.5) * scale + pad) * ratio - shift, float(low), float(high - 1))
        cell = at.astype(np.int32)
        share = (at - cell).astype(np.float32)
        first = np.searchsorted(cell, np.arange(cells + 1), "left").astype(np.int32)
        parts += [cell, share.view(np.int32), first]
    return np.concatenate(parts)


def level_rows(head: HeadContract, outputs: Sequence[int], rows: int) -> npt.NDArray[np.void]:
    """Where the values of each level lie.

    Args:
        head: The head contract.
        outputs: Address of each output.
        rows: Rows of an ``end2end`` head's table; of no use for others.

    Returns:
        ``LEVEL`` records; one for heads whose levels are one table.
    """
    if head.kind == "levels":
        return _levels(head, outputs)
    base = outputs[0]
    if head.kind == "flat":
        plane = head.anchors
        scores, coefficients = base + 16 * plane, base + 4 * (4 + head.classes) * plane
        return np.array([(base, scores, coefficients, plane, 1, 0, plane, 0)], LEVEL)
    return np.array([(base, base + 16, base + 24, 1, 6 + head.coefficients, 0, rows, 0)], LEVEL)


def _levels(head: HeadContract, outputs: Sequence[int]) -> npt.NDArray[np.void]:
    found = []
    first, each = 0, 3 if head.coefficients else 2
    for index, ((height, width), stride) in enumerate(zip(head.grids, head.strides, strict=True)):
        box, cls, *mc = outputs[each * index : each * index + each]
        found.append((box, cls, mc[0] if mc else 0, height * width, 1, first, width, stride))
        first += height * width
    return np.array(found, LEVEL)
