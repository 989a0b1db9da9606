"""The decode rule of the runtime, said once more in plain numpy and as slowly as it likes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
F32 = np.float32


@dataclass
class Rows:
    """Anchors, in input pixels."""

    boxes: Array
    scores: Array
    classes: Array
    anchors: Array

    def __getitem__(self, index: Any) -> Rows:
        return Rows(self.boxes[index], self.scores[index], self.classes[index], self.anchors[index])

    def __len__(self) -> int:
        return len(self.scores)


def placement(image_size: tuple[int, int], input_size: tuple[int, int]) -> tuple[float, float, int, int, int, int]:
    """Scale x, scale y, left, top, content height, content width of a letterboxed picture."""
    (high, wide), (h, w) = image_size, input_size
    s = min(w / wide, h / high)
    nh, nw = max(1, round(high * s)), max(1, round(wide * s))
    return nw / wide, nh / high, (w - nw) // 2, (h - nh) // 2, nh, nw


def score_of(logits: Array) -> Array:
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(F32)


def all_anchors(outputs: list[Array], head: Any) -> Rows:
    """Every anchor with its best class, whatever its score."""
    if head.kind == "end2end":
        table = outputs[0][0]
        return Rows(table[:, :4], table[:, 4], table[:, 5].astype(np.int32), np.arange(len(table)))
    if head.kind == "flat":
        table = outputs[0][0]
        cx, cy, w, h = table[:4]
        half = F32(0.5)
        boxes = np.stack([cx - w * half, cy - h * half, cx + w * half, cy + h * half], 1)
        scores = table[4 : 4 + head.classes].T
        return Rows(boxes, scores.max(1), scores.argmax(1).astype(np.int32), np.arange(len(scores)))
    corners: list[list[float]] = []
    values: list[Array] = []
    each = 3 if head.coefficients else 2
    for level, stride in enumerate(head.strides):
        sides, logits = outputs[level * each][0], outputs[level * each + 1][0]
        for y in range(sides.shape[1]):
            for x in range(sides.shape[2]):
                bins = sides[:, y, x].astype(np.float64).reshape(4, head.reg_max)
                if head.reg_max == 1:
                    left, top, right, bottom = bins[:, 0]
                else:
                    share = np.exp(bins - bins.max(1, keepdims=True))
                    left, top, right, bottom = (share * np.arange(head.reg_max)).sum(1) / share.sum(1)
                cx, cy = x + 0.5, y + 0.5
                corners.append(
                    [(cx - left) * stride, (cy - top) * stride, (cx + right) * stride, (cy + bottom) * stride]
                )
                values.append(score_of(logits[:, y, x]))
    table = np.array(values)
    return Rows(np.array(corners, F32), table.max(1), table.argmax(1).astype(np.int32), np.arange(len(table)))


def overlap(a: Array, b: Array) -> np.float32:
    """Intersection over union of two boxes, float32 at every step."""
    with np.errstate(all="ignore"):
        w = max(F32(0), min(a[2], b[2]) - max(a[0], b[0]))
        h = max(F32(0), min(a[3], b[3]) - max(a[1], b[1]))
        both = w * h
        area_a = (a[2] - a[0]) * (a[3] - a[1])
        area_b = (b[2] - b[0]) * (b[3] - b[1])
        return F32(both / (area_b + area_a - both))


def in_order(rows: Rows) -> Rows:
    """Best score first; of equal scores the lower anchor."""
    return rows[np.lexsort((rows.anchors, -rows.scores.astype(np.float64)))]


def suppressed(rows: Rows, iou: float, agnostic: bool, most: int | None = None) -> Rows:
    """The first ``most`` that stay; who stays depends on those before alone."""
    rows = in_order(rows)
    kept: list[int] = []
    for i in range(len(rows)):
        if len(kept) == most:
            break
        rivals = (k for k in kept if agnostic or rows.classes[k] == rows.classes[i])
        if not any(overlap(rows.boxes[k], rows.boxes[i]) > F32(iou) for k in rivals):
            kept.append(i)
    return rows[np.array(kept, int)]


def detect(outputs: list[Array], head: Any, *, conf: float, iou: float, max_det: int, agnostic: bool = False) -> Rows:
    """What must be found, in input pixels."""
    rows = all_anchors(outputs, head)
    rows = rows[rows.scores > F32(conf)]
    return in_order(rows)[:max_det] if head.kind == "end2end" else suppressed(rows, iou, agnostic, max_det)


def to_picture(boxes: Array, image_size: tuple[int, int], input_size: tuple[int, int]) -> Array:
    """Boxes in the picture, each axis by its own gain, clipped."""
    sx, sy, left, top, *_ = placement(image_size, input_size)
    out = np.empty_like(boxes, F32)
    for column, (pad, scale, side) in enumerate([(left, sx, image_size[1]), (top, sy, image_size[0])] * 2):
        out[:, column] = np.clip((boxes[:, column] - F32(pad)) / F32(scale), 0, side)
    return out


def coefficients_of(outputs: list[Array], head: Any, anchor: int) -> Array:
    if head.kind == "end2end":
        return outputs[0][0, anchor, 6:]
    if head.kind == "flat":
        return outputs[0][0, 4 + head.classes :, anchor]
    planes = [outputs[3 * level + 2][0].reshape(head.coefficients, -1) for level in range(len(head.strides))]
    return np.concatenate(planes, 1)[:, anchor]
