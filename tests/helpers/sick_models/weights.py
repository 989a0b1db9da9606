"""Weights that cannot be loaded, or should not be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers import own_blocks
from helpers.sick_models.making import Sick, change


def missing_blocks(folder: Path, real: Path) -> Sick:
    return Sick(change(folder, "replace:\n  8: [-1, 1, NobodysBlock, [256]]\n"))


def refused_by_safe(folder: Path, real: Path) -> Sick:
    path = own_blocks.checkpoint(folder / "best.pt", "somewhere_else", "EMAttn", own_blocks.ATTENTION, 64)
    return Sick(str(path), options={"safe": True})


class Attack:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def hostile_pickle(folder: Path, real: Path) -> Sick:
    import torch

    torch.save({"model": Attack(os.system, f"touch {folder / 'mark'}")}, folder / "best.pt")
    return Sick(str(folder / "best.pt"))


def foreign_classes(folder: Path, real: Path) -> Sick:
    import torch
    from torch import nn

    from lineside.export.ultra import load_model

    model = load_model("yolo11n-seg.yaml")
    model.memory = own_module_of_the_tests()
    assert isinstance(model, nn.Module)
    torch.save({"ema": model, "train_args": {"imgsz": 64}}, folder / "best.pt")
    return Sick(str(folder / "best.pt"))


def own_module_of_the_tests() -> Any:
    """An object of a class that can be imported here and is nobody's block."""
    return Sick("nothing")


def unknown_head_named(folder: Path, real: Path) -> Sick:
    return Sick("yoloe-11n-seg.yaml")


def unknown_head(folder: Path, real: Path) -> Sick:
    import torch
    from ultralytics.nn.tasks import PoseModel

    torch.save({"ema": PoseModel("yolo11n-pose.yaml", verbose=False)}, folder / "pose.pt")
    return Sick(str(folder / "pose.pt"), options={"imgsz": (64, 64)})


def prototype_stride(folder: Path, real: Path) -> Sick:
    return Sick(change(folder, "head: [[19, 22], 1, Segment, [nc, 32, 256]]\n"), options={"imgsz": (64, 64)})


def head_refused(folder: Path, real: Path) -> Sick:
    return Sick("yolo11n-seg.yaml", options={"imgsz": (64, 64), "end2end": True})
