"""Full postprocessing with masks at picture resolution: the native core beside numpy and OpenCV.

One 1080p picture at input 640 with 5, 50 or 300 objects, each seen by 6 anchors. Both sides start from the same raw
outputs (flat with one class; levels with 80 classes) and end with boxes and one crop per object at picture resolution.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import Load, free_openblas, interleaved

IMAGE, INPUT = (1080, 1920), (640, 640)
PAD_TOP, CONTENT_H, GAIN = 140, 360, 1 / 3
CONF, IOU, COEFFICIENTS, DUPLICATES = 0.25, 0.7, 32, 6
OBJECTS = {5: (144, 108), 50: (60, 45), 300: (24, 18)}
"""Width and height in input pixels of the objects, for each number of objects."""
OURS, PEER = "lineside", "numpy and OpenCV"


def objects_of(count: int, rng: Any) -> Any:
    """Boxes (count * 6, 4) xywh in input pixels: a jittered grid, each object seen by six anchors that nearly agree."""
    import numpy as np

    w, h = OBJECTS[count]
    columns = int(np.ceil(np.sqrt(count * INPUT[1] / CONTENT_H)))
    rows = int(np.ceil(count / columns))
    place = rng.permutation(columns * rows)[:count]
    cx = (place % columns + 0.5) * INPUT[1] / columns
    cy = PAD_TOP + (place // columns + 0.5) * CONTENT_H / rows
    size = rng.uniform(0.8, 1.0, (count, 2)) * [w, h]
    one = np.column_stack([cx, cy, size])
    return np.repeat(one, DUPLICATES, 0) + rng.normal(0, 0.2, (count * DUPLICATES, 4))


def planes_of(boxes: Any, rng: Any) -> tuple[Any, Any]:
    """Prototypes (32, 160, 160) and coefficients (N, 32) whose masks are ellipses with a wavy edge."""
    import numpy as np

    x, y = np.meshgrid((np.arange(160) + 0.5) * 4, (np.arange(160) + 0.5) * 4)
    waves = [np.sin(x * fx + y * fy + p) for fx, fy, p in rng.uniform(-0.15, 0.15, (COEFFICIENTS - 5, 3)) * [1, 1, 40]]
    protos = np.stack([np.ones_like(x), x / 640, y / 640, (x / 640) ** 2, (y / 640) ** 2, *waves])
    cx, cy, rx, ry = (boxes / [640, 640, 1280, 1280]).T
    exact = np.stack([1 - (cx / rx) ** 2 - (cy / ry) ** 2, 2 * cx / rx**2, 2 * cy / ry**2, -1 / rx**2, -1 / ry**2], 1)
    wavy = rng.normal(0, 0.03, (len(boxes), COEFFICIENTS - 5))
    return protos.astype(np.float32), np.hstack([exact, wavy]).astype(np.float32)


def flat_scene(count: int, seed: int = 0) -> list[Any]:
    """Raw outputs of a flat head with one class."""
    import numpy as np

    rng = np.random.default_rng(seed)
    boxes = objects_of(count, rng)
    protos, coefficients = planes_of(boxes, rng)
    table = np.zeros((1, 5 + COEFFICIENTS, 8400), np.float32)
    table[0, 4] = rng.uniform(0, 0.2, 8400)
    at = np.sort(rng.permutation(8400)[: len(boxes)])
    table[0, :4, at] = boxes
    table[0, 4, at] = rng.uniform(0.4, 0.95, len(boxes))
    table[0, 5:, at] = coefficients
    return [table, protos[None]]


def levels_scene(count: int, seed: int = 0) -> list[Any]:
    """Raw outputs of a head cut into levels, with 80 classes; every anchor lies near the object that it sees."""
    import numpy as np

    rng = np.random.default_rng(seed)
    boxes = objects_of(count, rng)
    protos, coefficients = planes_of(boxes, rng)
    grids = {8: 80, 16: 40, 32: 20}
    outputs = {s: [rng.normal(0, 1, (1, c, g, g)).astype(np.float32) for c in (64, 80, 32)] for s, g in grids.items()}
    for parts in outputs.values():
        parts[1] -= 7
    largest = max(OBJECTS[count])
    stride = 8 if largest < 15 * 8 else 16
    box, logits, masks = outputs[stride]
    for i, (cx, cy, w, h) in enumerate(boxes):
        column, row = int(cx / stride) + i % 3 - 1, int(cy / stride) + i % 2
        column, row = min(max(column, 0), grids[stride] - 1), min(row, grids[stride] - 1)
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        for side, distance in enumerate((x - cx + w / 2, y - cy + h / 2, cx + w / 2 - x, cy + h / 2 - y)):
            box[0, 16 * side : 16 * side + 16, row, column] = -((np.arange(16) - distance / stride) ** 2) * 4
        logits[0, (i // DUPLICATES) % 80, row, column] = rng.uniform(0.5, 3)
        masks[0, :, row, column] = coefficients[i]
    return [*(part for parts in outputs.values() for part in parts), protos[None]]


def peer_flat(outputs: list[Any]) -> tuple[Any, Any, Any]:
    """Candidates of a flat output in plain numpy: boxes xywh, scores and coefficients."""
    import numpy as np

    table = outputs[0][0]
    scores = table[4] if table.shape[0] == 5 + COEFFICIENTS else table[4:-COEFFICIENTS].max(0)
    keep = np.flatnonzero(scores > CONF)
    return table[:4, keep].T, scores[keep], table[-COEFFICIENTS:, keep].T


def peer_levels(outputs: list[Any]) -> tuple[Any, Any, Any]:
    """The same from raw levels: the scan on logits, the rest for survivors only."""
    import numpy as np

    floor = np.log(CONF / (1 - CONF))
    boxes, scores, coefficients = [], [], []
    for level, stride in enumerate((8, 16, 32)):
        sides, logits, masks = (t[0].reshape(t.shape[1], -1) for t in outputs[3 * level : 3 * level + 3])
        best = logits.max(0)
        keep = np.flatnonzero(best > floor)
        bins = sides[:, keep].T.reshape(-1, 4, 16)
        share = np.exp(bins - bins.max(2, keepdims=True))
        d = (share @ np.arange(16, dtype=np.float32)) / share.sum(2)
        columns = INPUT[1] // stride
        x, y = keep % columns + 0.5, keep // columns + 0.5
        left, top, right, bottom = x - d[:, 0], y - d[:, 1], x + d[:, 2], y + d[:, 3]
        boxes.append(np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], 1) * stride)
        scores.append(1 / (1 + np.exp(-best[keep])))
        coefficients.append(masks[:, keep].T)
    return np.concatenate(boxes).astype(np.float32), np.concatenate(scores), np.concatenate(coefficients)


def peer(outputs: list[Any], candidates: Callable[[list[Any]], tuple[Any, Any, Any]]) -> list[tuple[int, int, Any]]:
    """The usual quick way: OpenCV's NMS, then for each object a product on the crop and one warp to the picture."""
    import cv2
    import numpy as np

    boxes, scores, coefficients = candidates(outputs)
    corners = np.column_stack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]])
    keep = np.asarray(cv2.dnn.NMSBoxes(corners.tolist(), scores.tolist(), CONF, IOU)).ravel()
    protos = outputs[-1][0]
    crops = []
    for i in keep:
        x, y, w, h = corners[i]
        x1, x2 = np.clip(np.array([x, x + w]) / GAIN, 0, IMAGE[1])
        y1, y2 = np.clip(np.array([y - PAD_TOP, y + h - PAD_TOP]) / GAIN, 0, IMAGE[0])
        left, top, right, bottom = (int(np.ceil(v)) for v in (x1, y1, x2, y2))
        u1, v1 = max(0, int(x / 4) - 1), max(0, int(y / 4) - 1)
        u2, v2 = min(160, int((x + w) / 4) + 2), min(160, int((y + h) / 4) + 2)
        part = protos[:, v1:v2, u1:u2].reshape(COEFFICIENTS, -1)
        values = (coefficients[i] @ part).reshape(v2 - v1, u2 - u1)
        step = GAIN / 4
        shift_x = (left + 0.5) * step - 0.5 - u1
        shift_y = (top + 0.5) * step + PAD_TOP / 4 - 0.5 - v1
        matrix = np.array([[step, 0, shift_x], [0, step, shift_y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(
            values, matrix, (right - left, bottom - top), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        crops.append((left, top, (warped > 0).view(np.uint8)))
    return crops


def ours(outputs: list[Any], kind: str, classes: int) -> Callable[[], Any]:
    """The native core: spans of all masks, as a frame of the line uses them."""
    from lineside.runtime.contract import HeadContract
    from lineside.runtime.geometry import Letterbox
    from lineside.runtime.postprocess import Postprocessor

    head = HeadContract(kind=kind, classes=classes, coefficients=COEFFICIENTS, input_size=INPUT)  # type: ignore[arg-type]
    box = Letterbox.fit(image_size=IMAGE, input_size=INPUT)
    post = Postprocessor(head)
    return lambda: post.run(outputs, box, conf=CONF, iou=IOU)


def agreement(mine: Any, theirs: list[tuple[int, int, Any]]) -> dict[str, float]:
    """How far both sides found the same: masks matched by their best overlap."""
    import numpy as np

    from lineside.runtime.masks import Mask

    masks = []
    for left, top, crop in theirs:
        table = np.zeros(IMAGE, np.uint8)
        table[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        masks.append(Mask.from_array(table))
    best = [max((mask.iou(other) for other in masks), default=0.0) for mask in mine.masks]
    return {"lineside": len(mine), "peer": len(theirs), "mean_iou": round(float(np.mean(best)), 5)}


def measure(rounds: int = 60) -> dict[str, Any]:
    """Times of both sides on every scene.

    Args:
        rounds: Interleaved rounds.

    Returns:
        By scene: times in ms of both sides (with the native crops of all masks as a third), how well their results
        agree, and the ratio of the medians, peer over ours; and the share of the machine that others used.
    """
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    load = Load()
    result: dict[str, Any] = {"image": IMAGE, "input": INPUT, "threads": 1, "duplicates": DUPLICATES, "scenes": {}}
    try:
        for kind, classes, scene, candidates in (
            ("flat", 1, flat_scene, peer_flat),
            ("levels", 80, levels_scene, peer_levels),
        ):
            for count in OBJECTS:
                outputs = scene(count)
                run = ours(outputs, kind, classes)

                def with_crops(run: Callable[[], Any] = run) -> Any:
                    return [mask.crop() for mask in run().masks]

                def other(outputs: list[Any] = outputs, candidates: Any = candidates) -> Any:
                    return peer(outputs, candidates)

                times = interleaved(
                    {OURS: run, "lineside with crops": with_crops, PEER: other}, rounds=rounds, inner=3, seconds=20
                )
                result["scenes"][f"{kind} nc={classes} n={count}"] = {
                    "ms": {name: value.as_dict() for name, value in times.items()},
                    "ratio": round(times[PEER].median / times[OURS].median, 2),
                    "found": agreement(run(), other()),
                }
    finally:
        cv2.setNumThreads(threads)
    result["foreign_cpu"] = round(load.foreign(), 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    print(json.dumps(measure(parser.parse_args().rounds), indent=2))


if __name__ == "__main__":
    free_openblas()
    main()
