"""Full postprocessing with masks at picture resolution: the native core beside its peers, each in its own process.

One 1080p picture at input 640 with 5, 50 or 300 objects, each seen by 6 anchors. All start from the same raw outputs in
memory and end with boxes and masks. Lineside takes a flat output with one class, or levels with 80 classes; of the
latter the peers get the flat table that the uncut graph would have computed (OpenCV's side gets the levels too).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import Load, Times, free_openblas, take_turns
from peers.client import WORKERS, Worker, workers
from scenes import COEFFICIENTS, CONF, IMAGE, INPUT, IOU, OBJECTS, flat_scene, levels_scene, write

__all__ = ["flat_scene", "levels_scene", "measure", "ours"]

OURS, CROPS = "lineside", "lineside with crops"
SCENES = tuple((kind, classes, count) for kind, classes in (("flat", 1), ("levels", 80)) for count in OBJECTS)
COARSE = ("edgefirst, prototype size",)
"""Ways whose masks are not of the picture's size, so that they are not laid over ours."""


def ours(outputs: list[Any], kind: str, classes: int) -> Callable[[], Any]:
    """The native core in this process: spans of all masks, as a frame of the line uses them."""
    from lineside.runtime.contract import HeadContract
    from lineside.runtime.geometry import Letterbox
    from lineside.runtime.postprocess import Postprocessor

    head = HeadContract(kind=kind, classes=classes, coefficients=COEFFICIENTS, input_size=INPUT)  # type: ignore[arg-type]
    box = Letterbox.fit(image_size=IMAGE, input_size=INPUT)
    post = Postprocessor(head)
    return lambda: post.run(outputs, box, conf=CONF, iou=IOU)


def overlaps(mine: dict[str, Any], theirs: dict[str, Any], image: tuple[int, int]) -> list[float]:
    """For each of our masks its best overlap (IoU) with one of a peer's; both as `Worker.save` returns them."""
    other = [spread(crop, image) for crop in theirs["crops"]]
    return [max((mask.iou(peer) for peer in other), default=0.0) for mask in (spread(c, image) for c in mine["crops"])]


def spread(crop: tuple[int, int, Any], image: tuple[int, int]) -> Any:
    """A crop as a mask of the whole picture; what lies beyond the picture is left out."""
    import numpy as np

    from lineside.runtime.masks import Mask

    left, top, pixels = crop
    table = np.zeros(image, np.uint8)
    part = table[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    part[:] = pixels[: part.shape[0], : part.shape[1]]
    return Mask.from_array(table)


def agreement(asked: dict[str, Worker], ways: dict[str, Worker], folder: Path) -> dict[str, dict[str, float]]:
    """What every way finds in the open scene, and how well its masks lie on ours."""
    mine = asked[OURS].save(OURS, folder / "ours.npz")
    found = {}
    for way, worker in ways.items():
        theirs = worker.save(way, folder / "theirs.npz")
        found[way] = {"found": len(theirs["boxes"])}
        if way not in COARSE:
            best = overlaps(mine, theirs, IMAGE)
            found[way] |= {"mean_iou": round(sum(best) / max(1, len(best)), 6), "least_iou": round(min(best), 6)}
    return found


def measure_scene(asked: dict[str, Worker], path: Path, rounds: int, share: float) -> dict[str, Any]:
    """Times and results of all ways on one scene."""
    ways = {way: worker for worker in asked.values() for way in worker.open(path)}
    firsts: dict[str, list[float]] = {way: [] for way in ways}

    def turn(way: str) -> float:
        answer = ways[way].time(way)
        firsts[way].append(answer["first"])
        return answer["ms"]

    turns = take_turns({way: partial(turn, way) for way in ways}, rounds=rounds, warmup=2, seconds=60, share=share)
    peers = [way for way in ways if way not in (OURS, CROPS)]
    return {
        "ms": {way: value.as_dict() for way, value in turns.times().items()},
        "first_ms": {way: Times.of(values).as_dict() for way, values in firsts.items()},
        "gain": {way: round(turns.gain(way, OURS), 2) for way in peers},
        "gain_with_crops": {way: round(turns.gain(way, CROPS), 2) for way in peers},
        "agreement": agreement(asked, ways, path.parent),
    }


def measure(
    rounds: int = 60, share: float = 5.0, names: Sequence[str] = tuple(WORKERS), counts: Sequence[int] = tuple(OBJECTS)
) -> dict[str, Any]:
    """Times of all sides on every scene.

    Args:
        rounds: Interleaved rounds at most; slow peers take part in some of them only.
        share: Seconds of one scene that one way may use.
        names: Workers to ask, ours among them.
        counts: Numbers of objects.

    Returns:
        By scene: times in ms of a call that follows another one (``ms``) and of a turn's first call (``first_ms``), the
        gain over each peer (median over the rounds of its time over ours; ``gain_with_crops``: ours with a crop of each
        mask made as well), and what each found; why a peer is missing; and the share of the machine that others used.
    """
    load = Load()
    result: dict[str, Any] = {"image": IMAGE, "input": INPUT, "scenes": {}}
    with tempfile.TemporaryDirectory() as folder, workers(list(names)) as (asked, missing):
        for kind, classes, count in SCENES:
            if count in counts:
                path = write(Path(folder) / "scene.npz", kind, count)
                result["scenes"][f"{kind} nc={classes} n={count}"] = measure_scene(asked, path, rounds, share)
    result["missing"] = missing
    result["foreign_cpu"] = round(load.foreign(), 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--share", type=float, default=5.0, help="seconds of one scene that one way may use")
    parser.add_argument("--peers", default=",".join(list(WORKERS)[1:]), help="peers, separated by commas")
    options = parser.parse_args()
    names = [OURS, *(name for name in options.peers.split(",") if name)]
    print(json.dumps(measure(options.rounds, options.share, names), indent=2))


if __name__ == "__main__":
    free_openblas()
    main()
