"""What every peer's process does: opens a scene when told, then runs one call at a time and says how long it took.

Runs with the peer's own interpreter, on the standard library and numpy. Requests come as JSON lines
on the standard input; answers go to the file descriptor ``ANSWERS``, because libraries print to the standard output.

    {"open": "scene.npz"}            -> {"ways": [...]}           names of what can be called on this scene
    {"time": WAY, "block": 5}        -> {"first": ms, "ms": ms, "calls": n}
    {"save": WAY, "to": "out.npz"}   -> {"found": n}              boxes and crops of one call, for comparison
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LONG = 20.0
"""Milliseconds beyond which a call is not repeated within a turn: cold caches make no difference to it."""
MOST = 20
"""Calls in a block at most."""

Crop = tuple[int, int, Any]
"""First column, first row, and a table of 0 and 1 with the pixels of one mask, all in picture pixels."""


@dataclass(frozen=True)
class Scene:
    """Raw outputs of one picture and what is wanted of them.

    Attributes:
        arrays: ``flat`` (1, 4 + classes + coefficients, anchors) and ``protos`` (1, coefficients, h, w), float32; for a
            head cut into levels also its tensors, ``level0`` and so on.
        conf: Lowest score.
        iou: Overlap beyond which the weaker of two boxes goes.
        max_det: Most objects.
        image: Height and width of the picture.
        content: Height and width of the picture within the input.
        pad: Left and top padding in the input.
        input: Height and width of the input.
    """

    arrays: dict[str, Any]
    conf: float
    iou: float
    max_det: int
    image: tuple[int, int]
    content: tuple[int, int]
    pad: tuple[int, int]
    input: tuple[int, int]

    @property
    def levels(self) -> list[Any]:
        """The tensors of a head cut into levels, in its order; none for a flat head."""
        return [self.arrays[f"level{i}"] for i in range(9) if f"level{i}" in self.arrays]

    @property
    def coefficients(self) -> int:
        """Mask coefficients of an object."""
        return int(self.arrays["protos"].shape[1])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.arrays["flat"].shape[1]) - 4 - self.coefficients


@dataclass(frozen=True)
class Way:
    """One way to get from the scene's outputs to objects with masks.

    Attributes:
        run: The call that is timed.
        tell: Boxes (N, 4) xyxy in picture pixels, scores (N,) and the crops of what it returned.
    """

    run: Callable[[], Any]
    tell: Callable[[Any], tuple[Any, Any, Sequence[Crop]]]


def load(path: str) -> Scene:
    """Reads a scene as `client.write_scene` wrote it."""
    with np.load(path) as archive:
        about = json.loads(str(archive["about"]))
        arrays = {name: np.ascontiguousarray(archive[name]) for name in archive.files if name != "about"}
    return Scene(arrays, **{key: tuple(v) if isinstance(v, list) else v for key, v in about.items()})


def timed(run: Callable[[], Any], block: float) -> dict[str, float]:
    """One turn: a first call on whatever the caches hold, then a block of calls as they come one after the other.

    Args:
        run: The call.
        block: Milliseconds that the block is to take.

    Returns:
        Milliseconds of the first call (``first``), of one call of the block (``ms``; of a long call the first one
        stands), and how many calls the block had.
    """
    clock = time.perf_counter_ns
    start = clock()
    run()
    first = (clock() - start) / 1e6
    if first > LONG:
        return {"first": first, "ms": first, "calls": 1}
    calls = max(1, min(MOST, int(block / max(first, 1e-3))))
    start = clock()
    for _ in range(calls):
        run()
    return {"first": first, "ms": (clock() - start) / 1e6 / calls, "calls": calls}


def save(way: Way, path: str) -> int:
    """Writes what one call finds: boxes, scores and each crop as ``x0, y0`` and its pixels."""
    boxes, scores, crops = way.tell(way.run())
    corners = np.array([[x, y] for x, y, _ in crops], np.int64).reshape(-1, 2)
    tables = {f"crop{i}": np.ascontiguousarray(table, np.uint8) for i, (_, _, table) in enumerate(crops)}
    np.savez(path, boxes=np.asarray(boxes, np.float32), scores=np.asarray(scores, np.float32), at=corners, **tables)
    return len(crops)


def serve(ways_of: Callable[[Scene], dict[str, Way]]) -> None:
    """Answers requests until the standard input ends.

    Args:
        ways_of: Makes the ways of a peer on a scene; what it prepares is not timed.
    """
    answers = os.fdopen(int(os.environ["ANSWERS"]), "w", encoding="utf-8")
    ways: dict[str, Way] = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        try:
            if "open" in request:
                ways = ways_of(load(request["open"]))
                answer = {"ways": list(ways)}
            elif "time" in request:
                gc.collect()
                gc.disable()
                answer = timed(ways[request["time"]].run, request["block"])
                gc.enable()
            else:
                answer = {"found": save(ways[request["save"]], request["to"])}
        except Exception as error:  # the other side says which peer it was
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def full_to_crops(masks: Any) -> list[Crop]:
    """Crops of masks that are as large as the picture, (N, H, W)."""
    crops: list[Crop] = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            crops.append((0, 0, np.zeros((0, 0), np.uint8)))
            continue
        top, left = int(rows[0]), int(columns[0])
        crops.append((left, top, np.asarray(mask[top : rows[-1] + 1, left : columns[-1] + 1], np.uint8)))
    return crops
