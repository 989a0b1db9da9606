"""Accuracy of weights and bundles on fresh synthetic pictures: COCO mask mAP, by size of the object.

Usage::

    python benchmarks/accuracy.py bearing --weights best.pt --bundle demo/bearing.bundle --count 320 --json out.json

Two ways to the same pictures, one judge: the weights through ultralytics' own prediction (full-size masks), the bundle
through ``lineside.load``; both are scored by pycocotools against the masks that were drawn. Sizes are square roots of
mask areas, in pixels of the picture. With ``--data`` ultralytics' own validation of the weights is printed as well.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lineside.export.synth import Drawing, labelled

CONF, IOU, MAX_DET = 0.001, 0.7, 300
"""As ultralytics validates: everything above a nearly zero score counts towards the curve."""

SIZES = {"all": (0.0, 1e5), "16 px and larger": (16.0, 1e5), "below 16 px": (0.0, 16.0)}
"""Ranges of the object's size (square root of its area, px)."""

Found = list[dict[str, Any]]


def truth(drawings: list[Drawing]) -> COCO:
    """The drawn masks as a COCO ground truth; a pixel belongs to an object that covers half of it."""
    annotations: list[dict[str, Any]] = []
    for image_id, drawing in enumerate(drawings):
        for mask in drawing.masks:
            solid = np.asfortranarray(mask > 0.5, dtype=np.uint8)
            rle = coco_mask.encode(solid)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 0,
                    "segmentation": rle,
                    "area": int(solid.sum()),
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "iscrowd": 0,
                }
            )
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i, "height": d.image.shape[0], "width": d.image.shape[1]} for i, d in enumerate(drawings)],
        "annotations": annotations,
        "categories": [{"id": 0, "name": "object"}],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def by_weights(weights: Path, drawings: list[Drawing], imgsz: int) -> Found:
    """Detections of a checkpoint through ultralytics' prediction with masks at picture size."""
    from lineside.export.ultra import prepare

    model = prepare().YOLO(str(weights), task="segment")
    found: Found = []
    for image_id, drawing in enumerate(drawings):
        options = {"imgsz": imgsz, "conf": CONF, "iou": IOU, "max_det": MAX_DET, "retina_masks": True}
        result = model.predict(drawing.image, verbose=False, **options)[0]
        if result.masks is None:
            continue
        for mask, score in zip(result.masks.data.numpy(), result.boxes.conf.tolist(), strict=True):
            rle = coco_mask.encode(np.asfortranarray(mask > 0, dtype=np.uint8))
            found.append({"image_id": image_id, "category_id": 0, "segmentation": rle, "score": score})
    return found


def by_bundle(bundle: Path, drawings: list[Drawing]) -> Found:
    """Detections of a bundle through Lineside's runtime."""
    import lineside

    found: Found = []
    with lineside.load(bundle) as model:
        for image_id, drawing in enumerate(drawings):
            seen = model(drawing.image, conf=CONF, iou=IOU, max_det=MAX_DET)
            assert seen.masks is not None
            found += [
                {"image_id": image_id, "category_id": 0, "segmentation": mask.rle(), "score": float(score)}
                for mask, score in zip(seen.masks, seen.scores, strict=True)
            ]
    return found


def score(coco: COCO, found: Found) -> dict[str, dict[str, float]]:
    """Mask AP50 and AP50-95 and the number of objects, for each range of sizes."""
    table: dict[str, dict[str, float]] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(coco, coco.loadRes(found) if found else COCO(), "segm")
        judge.params.areaRng = [[low**2, high**2] for low, high in SIZES.values()]
        judge.params.areaRngLbl = list(SIZES)
        judge.params.maxDets = [MAX_DET]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"]  # (IoU thresholds, recalls, classes, areas, maxDets)
    for index, (name, (low, high)) in enumerate(SIZES.items()):
        values = precision[:, :, :, index, 0]
        count = sum(low**2 <= a["area"] < high**2 for a in coco.dataset["annotations"])
        mean: Callable[[Any], float] = lambda v: float(v[v > -1].mean()) if (v > -1).any() else float("nan")  # noqa: E731
        table[name] = {"mAP50": mean(values[0]), "mAP50-95": mean(values), "objects": count}
    return table


def validate(weights: Path, data: Path, imgsz: int) -> dict[str, float]:
    """Ultralytics' own validation figures of a checkpoint."""
    from lineside.export.datasets import check_dataset, write_resolved
    from lineside.export.ultra import prepare

    model = prepare().YOLO(str(weights), task="segment")
    import tempfile

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        resolved = write_resolved(check_dataset(data), Path(folder) / "data.yaml")
        result = model.val(
            data=str(resolved), imgsz=imgsz, batch=8, workers=0, plots=False, verbose=False, project=folder
        )
    return {"mAP50": float(result.seg.map50), "mAP50-95": float(result.seg.map)}


def rows(name: str, table: dict[str, dict[str, float]]) -> Iterable[str]:
    """Lines of the printed table."""
    for size, values in table.items():
        yield (f"| {name} | {size} | {values['objects']:.0f} | {values['mAP50']:.3f} | {values['mAP50-95']:.3f} |")


def main() -> None:
    """Runs what the command line asks for, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("bearing", "tube"))
    parser.add_argument("--weights", type=Path, help="checkpoint (.pt) to judge")
    parser.add_argument("--bundle", type=Path, help="bundle to judge")
    parser.add_argument("--data", type=Path, help="data.yaml for ultralytics' own validation of the weights")
    parser.add_argument("--count", type=int, default=320, help="number of pictures")
    parser.add_argument("--size", type=int, default=320, help="side of a picture, px")
    parser.add_argument("--imgsz", type=int, default=320, help="input size for --weights, px")
    parser.add_argument("--seed", type=int, default=90210, help="never the seed of a training set")
    parser.add_argument("--json", type=Path, help="file for the result")
    options = parser.parse_args()
    if options.weights is None and options.bundle is None:
        parser.error("give --weights, --bundle, or both")

    drawings = labelled(options.task, options.count, options.size, options.seed)
    coco = truth(drawings)
    result: dict[str, Any] = {
        "task": options.task,
        "pictures": len(drawings),
        "pictures_without_object": sum(not drawing.polygons for drawing in drawings),
        "size": options.size,
        "seed": options.seed,
    }
    lines = ["| through | object size | objects | mask mAP50 | mask mAP50-95 |", "|---|---|---|---|---|"]
    if options.weights is not None:
        result["weights"] = score(coco, by_weights(options.weights, drawings, options.imgsz))
        result["imgsz"] = options.imgsz
        lines += rows(f"{options.weights.name} (ultralytics, {options.imgsz})", result["weights"])
    if options.bundle is not None:
        result["bundle"] = score(coco, by_bundle(options.bundle, drawings))
        lines += rows(f"{options.bundle.name} (lineside)", result["bundle"])
    if options.weights is not None and options.data is not None:
        result["ultralytics_val"] = validate(options.weights, options.data, options.imgsz)
        lines.append(f"ultralytics val on {options.data}: {result['ultralytics_val']}")
    print("\n".join(lines))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
