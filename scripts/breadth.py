#!/usr/bin/env python3
"""Exports every YOLO family and scale through the real parity gate, and shows how far each bundle is from torch.

Random weights, brought to life on a few drawings, at a small input size; with the export extra installed::

    python scripts/breadth.py --json breadth.json
    python scripts/breadth.py --scales n --imgsz 96
    python scripts/breadth.py --only yolo26

Exit code 1: a form that should pass did not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

if TYPE_CHECKING:
    from lineside.export.bundle import Exported

SCALES = "nsmlx"
FAMILIES = ("yolov8{}-seg", "yolo11{}-seg", "yolo12{}-seg", "yolo26{}-seg")
SINGLE = ("yolov9c-seg", "yolov9e-seg", "yolov8n-seg-p6")
DETECTION = ("yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n", "yolo26n-p6")
END_TO_END = ("yolo26{}-seg",)
SIZES = ((96, 128), (128, 96), (128, 128), (150, 110), (70, 120), (110, 150), (180, 101), (101, 101), (128, 64))
"""Heights and widths of the pictures to compare on."""


@dataclass(frozen=True)
class Case:
    """One export.

    Attributes:
        model: A model yaml of ultralytics, without its ending.
        form: What is asked for, in a word.
        options: The same as arguments of `export_bundle`.
    """

    model: str
    form: str = "levels"
    options: dict[str, Any] = field(default_factory=dict)


def cases(scales: str) -> Iterator[Case]:
    """Every case, small models first."""
    for scale in scales:
        for family in FAMILIES:
            yield Case(family.format(scale))
        for family in END_TO_END:
            yield Case(family.format(scale), "end2end", {"end2end": True})
        if scale != "n":
            continue
        for family in FAMILIES:
            yield Case(family.format("n"), "dynamic", {"dynamic": True})
        for name in DETECTION:
            yield Case(name, "detection")
        yield Case("yolov10n", "detection end2end", {"end2end": True})
        yield Case("yolo26n", "detection end2end", {"end2end": True})
        yield Case("yolo26n", "detection dynamic", {"dynamic": True})
        yield Case("yolo11n-seg", "batch 3, fp16", {"batch": 3, "storage": "fp16"})
        for name in SINGLE:
            yield Case(name)


def measure(case: Case, size: int, pictures: Path, folder: Path) -> dict[str, Any]:
    """Exports one case.

    Returns:
        What the gate found in a few numbers, or the sentence with which the export ended.
    """
    from lineside.export.bundle import export_bundle
    from lineside.runtime.errors import LinesideError

    start = time.perf_counter()
    row: dict[str, Any] = {"model": case.model, "form": case.form}
    try:
        made = export_bundle(
            f"{case.model}.yaml", folder / "x.bundle", imgsz=(size, size), images=pictures, force=True, **case.options
        )
        row |= facts(made)
    except LinesideError as error:
        row |= {"passed": False, "error": str(error)}
    return row | {"seconds": round(time.perf_counter() - start, 1)}


def facts(made: Exported) -> dict[str, Any]:
    """The worst figures of a report, and the size of the graph."""
    import onnx

    model = made.path / made.manifest.model
    found = made.parity.pictures
    masks = [picture.masks for picture in found if picture.masks.compared]
    return {
        "passed": made.parity.passed and made.verified.passed,
        "pictures": len(found),
        "cosine": min(measure.cosine for picture in found for measure in picture.raw),
        "box_px": max(picture.anchors.box_px for picture in found),
        "score": max(picture.anchors.score for picture in found),
        "masks": sum(mask.compared for mask in masks),
        "mask_iou": min((mask.mean_iou for mask in masks), default=None),
        "nodes": len(onnx.load(model).graph.node),
        "bytes": model.stat().st_size,
    }


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    start = f"{row['model']:15} {row['form']:18} "
    if "error" in row:
        return f"{start}{row['error']}"
    iou = "-" if row["mask_iou"] is None else f"{row['mask_iou']:.5f}"
    return (
        f"{start}{'ok' if row['passed'] else 'FAILED':6} {row['cosine']:.8f} {row['box_px']:8.1e} {row['score']:8.1e} "
        f"{row['masks']:5} {iou:>8} {row['nodes']:5} {row['bytes'] / 1e6:7.1f} {row['seconds']:6.0f}"
    )


def main() -> int:
    """Runs all cases, each shown as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imgsz", type=int, default=128, help="side of the input, px; a multiple of 64")
    parser.add_argument("--scales", default=SCALES, help="scales to export, of nsmlx")
    parser.add_argument("--only", default="", help="models whose name holds this")
    parser.add_argument("--json", type=Path, help="file for the figures")
    asked = parser.parse_args()

    import torch

    from lineside.export.pictures import drawn_pictures

    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    print(f"{'model':15} {'form':18} gate   cosine     box px    score    masks  min IoU nodes      MB      s")
    with tempfile.TemporaryDirectory() as home:
        pictures = Path(home) / "pictures"
        pictures.mkdir()
        for index, picture in enumerate(drawn_pictures((), SIZES)):
            cv2.imwrite(str(pictures / f"{index}.png"), picture.frame)
        for case in cases(asked.scales):
            if asked.only in case.model:
                rows.append(measure(case, asked.imgsz, pictures, Path(home)))
                print(line(rows[-1]), flush=True)
                if asked.json:
                    asked.json.write_text(json.dumps({"imgsz": asked.imgsz, "rows": rows}, indent=1) + "\n")
    return 0 if rows and all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
