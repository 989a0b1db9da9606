"""Accuracy of weights and bundles on fresh synthetic pictures: COCO mask mAP, by size of the object.

Usage::

    python benchmarks/accuracy.py bearing --weights best.pt --bundle demo/bearing.bundle --count 320 --json out.json

What `lineside verify --data` measures on a labelled set, measured here against the masks that were really drawn: a pixel
belongs to an object that covers half of it. The weights look through ultralytics' own prediction, the bundle through
``lineside.load``, one judge scores both. Sizes are square roots of mask areas, in pixels of the picture.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lineside.export.accuracy.found import Found
from lineside.export.accuracy.measure import differences
from lineside.export.accuracy.scores import Scores, score
from lineside.export.accuracy.through_bundle import through_bundle
from lineside.export.accuracy.truth import Truth, mask_truth
from lineside.export.synth import CLASSES, Drawing, labelled

LIMIT = 16.0
"""Side that parts small objects from the others, px."""

DRAWS = 1000


def truth_of(drawings: list[Drawing]) -> Truth:
    """The drawn masks as a ground truth."""
    return mask_truth(
        [[mask > 0.5 for mask in drawing.masks] for drawing in drawings],
        [(drawing.image.shape[0], drawing.image.shape[1]) for drawing in drawings],
    )


def by_weights(weights: Path, drawings: list[Drawing], imgsz: int) -> list[Found]:
    """Detections of a checkpoint through ultralytics' prediction with masks at picture size."""
    from lineside.export.accuracy.through_torch import through_torch
    from lineside.export.ultra import load_model

    return list(through_torch(load_model(weights), (drawing.image for drawing in drawings), (imgsz, imgsz)))


def by_bundle(bundle: Path, drawings: list[Drawing]) -> list[Found]:
    """Detections of a bundle through Lineside's runtime."""
    import lineside

    with lineside.load(bundle) as model:
        return list(through_bundle(model, (drawing.image for drawing in drawings)))


def figures(scores: Scores) -> dict[str, dict[str, float | None]]:
    """Mask AP50 and AP50-95 and the number of objects, for each range of sizes; null where there is no object."""
    sizes = {f"below {LIMIT:g} px": scores.figures.sizes[0], f"{LIMIT:g} px and larger": scores.figures.sizes[1]}
    rows = [("all", scores.figures.map50, scores.figures.map50_95, sum(size.objects for size in sizes.values()))]
    rows += [(name, size.map50, size.map50_95, size.objects) for name, size in sizes.items()]
    return {
        name: {"mAP50": number(map50), "mAP50-95": number(map50_95), "objects": count}
        for name, map50, map50_95, count in rows
    }


def number(value: float) -> float | None:
    """The value, or None where it is not a number."""
    return None if value != value else value


def lines(name: str, table: dict[str, dict[str, float | None]]) -> Iterable[str]:
    """Lines of the printed table."""
    for size, values in table.items():
        shown = ["-" if values[key] is None else f"{values[key]:.3f}" for key in ("mAP50", "mAP50-95")]
        yield f"| {name} | {size} | {values['objects']:.0f} | {shown[0]} | {shown[1]} |"


def options_of(words: list[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=tuple(CLASSES))
    parser.add_argument("--weights", type=Path, help="checkpoint (.pt) to judge")
    parser.add_argument("--bundle", type=Path, help="bundle to judge")
    parser.add_argument("--count", type=int, default=320, help="number of pictures")
    parser.add_argument("--size", type=int, default=320, help="side of a picture, px")
    parser.add_argument("--imgsz", type=int, default=320, help="input size for --weights, px")
    parser.add_argument("--seed", type=int, default=90210, help="never the seed of a training set")
    parser.add_argument("--json", type=Path, help="file for the result")
    options = parser.parse_args(words)
    if options.weights is None and options.bundle is None:
        parser.error("give --weights, --bundle, or both")
    return options


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Draws, looks and judges."""
    drawings = labelled(options.task, options.count, options.size, options.seed)
    truth = truth_of(drawings)
    result: dict[str, Any] = {
        "task": options.task,
        "pictures": len(drawings),
        "pictures_without_object": sum(not drawing.polygons for drawing in drawings),
        "size": options.size,
        "seed": options.seed,
    }
    seen = {}
    if options.weights is not None:
        seen["weights"] = by_weights(options.weights, drawings, options.imgsz)
        result["imgsz"] = options.imgsz
    if options.bundle is not None:
        seen["bundle"] = by_bundle(options.bundle, drawings)
    scores = {name: score(truth, found, "mask", [0], [CLASSES[options.task]], (LIMIT,)) for name, found in seen.items()}
    result |= {name: figures(it) for name, it in scores.items()}
    if len(scores) == 2:
        ours, theirs = {"mask": scores["bundle"]}, {"mask": scores["weights"]}
        delta = differences(ours, theirs, truth, DRAWS, seed=0)["mask mAP50-95"]
        result["difference"] = {"value": delta.value, "low": delta.low, "high": delta.high}
    return result


def main(words: list[str] | None = None) -> int:
    """Runs what the command line asks for, prints a table and writes JSON."""
    options = options_of(words)
    result = measure(options)
    print("| through | object size | objects | mask mAP50 | mask mAP50-95 |\n|---|---|---|---|---|")
    if options.weights is not None:
        print(*lines(f"{options.weights.name} (ultralytics, {options.imgsz})", result["weights"]), sep="\n")
    if options.bundle is not None:
        print(*lines(f"{options.bundle.name} (lineside)", result["bundle"]), sep="\n")
    if "difference" in result:
        it = result["difference"]
        print(f"difference in mAP50-95: {it['value']:+.4f}, 95 % interval {it['low']:+.4f} to {it['high']:+.4f}")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
