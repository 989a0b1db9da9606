"""Graphs that were written down in the wrong form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from helpers.sick_models.making import Sick, graph, saved, traced


def invalid_transpose(folder: Path, real: Path) -> Sick:
    from torch import nn

    class Moved(nn.Module):
        """What the seeds' FastKAN does with its basis."""

        def forward(self, x: Any) -> Any:
            return x.moveaxis(-1, 2)

    return traced(folder, Moved(), (1, 2, 3, 4))


def folded_mask(folder: Path, real: Path) -> Sick:
    mask = np.zeros((1, 2100, 2100), np.float32)
    return saved(folder, graph([helper.make_node("Add", ["x", "m"], ["y"])], {"x": (1, 2100, 2100)}, {"m": mask}))


def training_form(folder: Path, real: Path) -> Sick:
    from lineside.export.modules.unireplknet import DilatedReparamBlock

    return traced(folder, DilatedReparamBlock(8, 7), (1, 8, 16, 16))


def norm(mode: int) -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node(
            "BatchNormalization", ["c", "g", "b", "m", "v"], ["y", *(["rm", "rv"] if mode else [])],
            training_mode=mode,
        ),
    ]  # fmt: skip
    ones = {name: np.ones(2, np.float32) for name in "gbmv"}
    return graph(nodes, {"x": (1, 3, 8, 8)}, {"w": np.ones((2, 3, 3, 3), np.float32), **ones})


def training_mode(folder: Path, real: Path) -> Sick:
    return saved(folder, norm(1))


def unfused_normalisation(folder: Path, real: Path) -> Sick:
    return saved(folder, norm(0))
