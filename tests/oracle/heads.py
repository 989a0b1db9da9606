"""Raw outputs of imaginary heads: what a model could have said, finite and repeatable."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.contract import HeadContract

Array = npt.NDArray[Any]
Rng = np.random.Generator


def prototypes(rng: Rng, head: HeadContract, kind: str = "smooth") -> Array:
    """Planes (1, coefficients, H/4, W/4): smooth, noise, or small whole numbers with many exact zeros."""
    shape = (head.coefficients, *head.protos_size)
    planes: Array
    if kind == "noise":
        planes = rng.standard_normal(shape)
    elif kind == "whole":
        planes = rng.integers(-2, 3, shape)
    else:
        y, x = np.mgrid[: shape[1], : shape[2]] / 8
        waves = rng.uniform(-2, 2, (shape[0], 3))
        planes = np.stack([np.sin(x * a + y * b + c) for a, b, c in waves])
    return planes.astype(np.float32)[None]


def logits(rng: Rng, shape: tuple[int, ...], ties: bool) -> Array:
    """Class logits; with `ties` few values, some so high that their scores are all 1."""
    if ties:
        return rng.choice(np.array([-120, -3, -1, 0, 0.5, 20, 25, 104], np.float32), shape)
    return (rng.standard_normal(shape) * 2 - 2).astype(np.float32)


def levels(rng: Rng, head: HeadContract, ties: bool = False) -> list[Array]:
    outputs: list[Array] = []
    for grid in head.grids:
        outputs.append((rng.standard_normal((1, 4 * head.reg_max, *grid)) * 2).astype(np.float32))
        outputs.append(logits(rng, (1, head.classes, *grid), ties))
        if head.coefficients:
            outputs.append(rng.standard_normal((1, head.coefficients, *grid)).astype(np.float32))
    return outputs


def flat(rng: Rng, head: HeadContract, ties: bool = False) -> list[Array]:
    h, w = head.input_size
    table = np.zeros((1, 4 + head.classes + head.coefficients, head.anchors), np.float32)
    table[0, 0] = rng.uniform(-20, w + 20, head.anchors)
    table[0, 1] = rng.uniform(-20, h + 20, head.anchors)
    table[0, 2:4] = rng.uniform(-1, max(h, w) / 2, (2, head.anchors))
    scores = rng.uniform(0, 1, (head.classes, head.anchors)) ** 3
    if ties:
        table[0, :4] = np.round(table[0, :4] / 8) * 8
        scores = np.round(scores * 8) / 8
    table[0, 4 : 4 + head.classes] = scores
    table[0, 4 + head.classes :] = rng.standard_normal((head.coefficients, head.anchors))
    return [table]


def end2end(rng: Rng, head: HeadContract, ties: bool = False, rows: int = 40) -> list[Array]:
    h, w = head.input_size
    table = np.zeros((1, rows, 6 + head.coefficients), np.float32)
    table[0, :, :2] = rng.uniform(-10, [w, h], (rows, 2))
    table[0, :, 2:4] = table[0, :, :2] + rng.uniform(0, [w, h], (rows, 2))
    scores = rng.uniform(0, 1, rows)
    table[0, :, 4] = np.round(scores * 4) / 4 if ties else scores
    table[0, :, 5] = rng.integers(0, head.classes, rows)
    table[0, :, 6:] = rng.standard_normal((rows, head.coefficients))
    return [table]


def outputs_of(rng: Rng, head: HeadContract, ties: bool = False, planes: str = "smooth") -> list[Array]:
    """Outputs in the order of the head contract."""
    parts = {"levels": levels, "flat": flat, "end2end": end2end}[head.kind](rng, head, ties)
    return [*parts, prototypes(rng, head, planes)] if head.coefficients else parts


def one_box(
    box: Array | tuple[float, ...], coefficients: Array, input_size: tuple[int, int]
) -> tuple[HeadContract, Array]:
    """A flat head of one class that saw one object: xyxy in input pixels, and the coefficients of its mask."""
    head = HeadContract(kind="flat", classes=1, coefficients=len(coefficients), input_size=input_size)
    table = np.zeros((1, 5 + len(coefficients), head.anchors), np.float32)
    x1, y1, x2, y2 = box
    table[0, :5, 0] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0.9
    table[0, 5:, 0] = coefficients
    return head, table
