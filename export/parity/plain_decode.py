"""Decoding in numpy and float64, every anchor, for references: nothing of what ships is used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lineside.runtime.contract import HeadContract

__all__ = ["Parts", "decode_end2end", "decode_flat", "decode_levels"]

Tensor = npt.NDArray[np.float32]
Parts = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Tensor]
"""Boxes ``(A, 4)`` xyxy in input pixels, scores ``(A, classes)``, coefficients ``(A, coefficients)``."""


def decode_flat(output: Tensor, head: HeadContract) -> Parts:
    """Decodes ``(4 + classes + coefficients, anchors)``."""
    columns = output.T
    centre, half = columns[:, :2].astype(np.float64), columns[:, 2:4].astype(np.float64) / 2
    return (
        np.concatenate([centre - half, centre + half], 1),
        columns[:, 4 : 4 + head.classes].astype(np.float64),
        np.ascontiguousarray(columns[:, 4 + head.classes :]),
    )


def decode_end2end(rows: Tensor, head: HeadContract) -> Parts:
    """Decodes ``(rows, 6 + coefficients)``; the score is 0 for every class but the row's own."""
    scores = np.zeros((len(rows), head.classes))
    classes = rows[:, 5].astype(np.int64).clip(0, head.classes - 1)
    scores[np.arange(len(rows)), classes] = rows[:, 4]
    return rows[:, :4].astype(np.float64), scores, np.ascontiguousarray(rows[:, 6:])


def decode_levels(outputs: Sequence[Tensor], head: HeadContract) -> Parts:
    """Decodes the tensors of contract ``levels``, batch 1, prototypes last and not used.

    Distances from the anchor point to the four sides are means of softmax distributions (arXiv 2006.04388), or the
    output itself with one bin.
    """
    kinds = 3 if head.coefficients else 2
    boxes, scores, coefficients = [], [], []
    for index, (stride, (height, width)) in enumerate(zip(head.strides, head.grids, strict=True)):
        level = [np.asarray(output[0], np.float64) for output in outputs[kinds * index : kinds * (index + 1)]]
        bins = level[0].reshape(4, head.reg_max, -1)
        if head.reg_max > 1:
            share = np.exp(bins - bins.max(1, keepdims=True))
            bins = (share / share.sum(1, keepdims=True) * np.arange(head.reg_max)[:, None]).sum(1, keepdims=True)
        left, top, right, bottom = bins[:, 0]
        y, x = np.mgrid[:height, :width].reshape(2, -1) + 0.5
        boxes.append(np.stack([x - left, y - top, x + right, y + bottom], 1) * stride)
        with np.errstate(over="ignore"):
            scores.append(1 / (1 + np.exp(-level[1].reshape(head.classes, -1).T)))
        if head.coefficients:
            coefficients.append(level[2].reshape(head.coefficients, -1).T)
    count = sum(len(part) for part in boxes)
    masks = np.concatenate(coefficients) if coefficients else np.zeros((count, 0))
    return np.concatenate(boxes), np.concatenate(scores), np.ascontiguousarray(masks, np.float32)
