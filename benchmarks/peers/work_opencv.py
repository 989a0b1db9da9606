"""numpy and OpenCV written for speed: one thread, work only where boxes are, one crop per object."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from serve import Crop, Scene, Way, serve


def flat_candidates(scene: Scene) -> tuple[Any, Any, Any, Any]:
    """Candidates of a flat output: boxes xywh, scores, classes and coefficients."""
    table, n = scene.arrays["flat"][0], scene.coefficients
    if scene.classes == 1:
        keep = np.flatnonzero(table[4] > scene.conf)
        return table[:4, keep].T, table[4, keep], np.zeros(len(keep), np.int64), table[-n:, keep].T
    scores = table[4:-n].max(0)
    keep = np.flatnonzero(scores > scene.conf)
    return table[:4, keep].T, scores[keep], table[4:-n, keep].argmax(0), table[-n:, keep].T


def level_candidates(scene: Scene) -> tuple[Any, Any, Any, Any]:
    """The same from a head cut into levels: the scan on logits, the rest for survivors only."""
    floor = np.log(scene.conf / (1 - scene.conf))
    parts: list[list[Any]] = [[], [], [], []]
    for i, stride in enumerate((8, 16, 32)):
        sides, logits, masks = (t[0].reshape(t.shape[1], -1) for t in scene.levels[3 * i : 3 * i + 3])
        best = logits.max(0)
        keep = np.flatnonzero(best > floor)
        bins = sides[:, keep].T.reshape(len(keep), 4, len(sides) // 4)
        share = np.exp(bins - bins.max(2, keepdims=True))
        d = (share @ np.arange(bins.shape[2], dtype=np.float32)) / share.sum(2)
        columns = scene.input[1] // stride
        x, y = keep % columns + 0.5, keep // columns + 0.5
        left, top, right, bottom = x - d[:, 0], y - d[:, 1], x + d[:, 2], y + d[:, 3]
        parts[0].append(np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], 1) * stride)
        parts[1].append(1 / (1 + np.exp(-best[keep])))
        parts[2].append(logits[:, keep].argmax(0))
        parts[3].append(masks[:, keep].T)
    boxes, scores, classes, coefficients = (np.concatenate(part) for part in parts)
    return boxes.astype(np.float32), scores, classes, coefficients


def postprocess(scene: Scene, candidates: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, list[Crop]]:
    """OpenCV's NMS, then for each object a product on its part of the prototypes and one warp to the picture."""
    boxes, scores, classes, coefficients = candidates
    corners = np.column_stack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]])
    apart = corners + np.column_stack([classes, classes, 0 * classes, 0 * classes]) * 7680.0
    keep = np.asarray(cv2.dnn.NMSBoxes(apart.tolist(), scores.tolist(), scene.conf, scene.iou)).ravel()
    keep = keep[: scene.max_det].astype(np.int64)
    (height, width), (left, top) = scene.image, scene.pad
    gains = np.array([scene.content[1] / width, scene.content[0] / height])
    found = np.hstack([corners[keep, :2], corners[keep, :2] + corners[keep, 2:]])
    found = (found - [left, top, left, top]) / np.tile(gains, 2)
    found = np.clip(found, 0, [width, height, width, height])
    protos = scene.arrays["protos"][0]
    cells_y, cells_x = protos.shape[1:]
    scale = np.array([cells_x / scene.input[1], cells_y / scene.input[0]])
    first, size = corners[keep, :2] * scale, corners[keep, 2:] * scale
    near = np.maximum(0, first.astype(int) - 1)
    far = np.minimum([cells_x, cells_y], (first + size).astype(int) + 2)
    pixels = np.ceil(found).astype(int)
    crops: list[Crop] = []
    for i, (u1, v1), (u2, v2), (x1, y1, x2, y2) in zip(keep, near, far, pixels, strict=True):
        part = protos[:, v1:v2, u1:u2].reshape(len(protos), -1)
        values = (coefficients[i] @ part).reshape(v2 - v1, u2 - u1)
        step = gains * scale
        shift_x = (x1 + 0.5) * step[0] + left * scale[0] - 0.5 - u1
        shift_y = (y1 + 0.5) * step[1] + top * scale[1] - 0.5 - v1
        matrix = np.array([[step[0], 0, shift_x], [0, step[1], shift_y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(values, matrix, (x2 - x1, y2 - y1), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        crops.append((int(x1), int(y1), (warped > 0).view(np.uint8)))
    return found, scores[keep], crops


def ways_of(scene: Scene) -> dict[str, Way]:
    """One way: on the levels where the scene has them, else on the flat output."""
    cv2.setNumThreads(1)
    candidates = level_candidates if scene.levels else flat_candidates
    return {"numpy + cv2": Way(lambda: postprocess(scene, candidates(scene)), lambda found: found)}


if __name__ == "__main__":
    serve(ways_of)
