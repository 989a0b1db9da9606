"""Numbers in another precision than they look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, helper

from helpers.sick_models.making import F16, Sick, graph, saved


def half_arithmetic(folder: Path, real: Path) -> Sick:
    weight = np.ones((2, 3, 3, 3), np.float16)
    return saved(
        folder, graph([helper.make_node("Conv", ["x", "w"], ["y"])], {"x": (1, 3, 8, 8)}, {"w": weight}, kind=F16)
    )


def signed_activations(folder: Path, real: Path) -> Sick:
    return saved(folder, quantised(np.int8))


def quantised(kind: type) -> ModelProto:
    """A convolution with quantised activations of that type."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"]),
    ]
    constants = {
        "s": np.array(0.1, np.float32),
        "z": np.array(0, kind),
        "w": np.ones((2, 3, 3, 3), np.float32),
    }
    return graph(nodes, {"x": (1, 3, 8, 8)}, constants)
