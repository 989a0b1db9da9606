"""Torch's own validation: ultralytics' figures for the weights, in its own way."""

from __future__ import annotations

import contextlib
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml
from torch import nn

from lineside.export.accuracy.found import CONF, IOU, MAX_DET
from lineside.export.accuracy.truth import read_objects
from lineside.export.ultra import prepare

__all__ = ["validate"]

VALIDATORS = {"segment": "SegmentationValidator", "detect": "DetectionValidator"}


def validate(
    model: nn.Module, pictures: Sequence[Path], class_of: Sequence[int | None], imgsz: int, end2end: bool = False
) -> dict[str, dict[str, float]]:
    """Runs ultralytics' validator over pictures.

    It pads pictures to rectangles, gives an anchor several labels, compares masks at a quarter of the resolution and
    integrates precision otherwise than COCO does: its figures are those that training prints, and differ from a judge's.
    It sees a folder of links, so that it writes no cache beside the user's pictures.

    Args:
        model: Result of `lineside.export.ultra.load_model`; it is left as it was.
        pictures: Picture files with sound labels.
        class_of: For each class of the model the class in the labels, or None where they have none.
        imgsz: Side of the network's input, px.
        end2end: Whether the head that needs no NMS is used, where the model has one.

    Returns:
        ``mAP50`` and ``mAP50-95`` for ``box`` and, with masks, for ``mask``.
    """
    prepare()
    task = str(model.task)
    with tempfile.TemporaryDirectory(prefix="lineside-validate-") as folder, contextlib.redirect_stdout(sys.stderr):
        options = {
            "task": task,
            "mode": "val",
            "data": str(_linked(Path(folder), pictures, class_of, model)),
            "imgsz": imgsz,
            "conf": CONF,
            "iou": IOU,
            "max_det": MAX_DET,
            "nms": False if end2end else None,
            "batch": 4,
            "workers": 0,
            "device": "cpu",
            "plots": False,
            "verbose": False,
            "project": folder,
        }
        package = importlib.import_module(f"ultralytics.models.yolo.{task}")
        validator = getattr(package, VALIDATORS[task])(args=options)
        validator(model=model)
    kinds = {"box": validator.metrics.box, **({"mask": validator.metrics.seg} if task == "segment" else {})}
    return {name: {"mAP50": float(it.map50), "mAP50-95": float(it.map)} for name, it in kinds.items()}


def _linked(folder: Path, pictures: Sequence[Path], class_of: Sequence[int | None], model: nn.Module) -> Path:
    """A set of links to the pictures and of labels with the model's own class numbers; the path of its data.yaml."""
    number = {theirs: ours for ours, theirs in enumerate(class_of) if theirs is not None}
    for kind in ("images", "labels"):
        (folder / kind / "val").mkdir(parents=True)
    for index, picture in enumerate(pictures):
        (folder / "images" / "val" / f"{index:06d}{picture.suffix}").symlink_to(picture)
        lines = [
            f"{number[kind]} " + " ".join(f"{value:.6f}" for value in outline.ravel()) + "\n"
            for kind, outline in read_objects(picture)
            if kind in number
        ]
        (folder / "labels" / "val" / f"{index:06d}.txt").write_text("".join(lines), encoding="utf-8")
    names = dict(model.names)  # type: ignore[arg-type]
    content = {"path": str(folder), "train": "images/val", "val": "images/val", "names": names}
    data = folder / "data.yaml"
    data.write_text(yaml.safe_dump(content), encoding="utf-8")
    return data
