"""Graphs of the models of ``configs/models`` as bundles hold them, and of the base, with random weights."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from helpers.zoo import MODELS, scaled

if TYPE_CHECKING:
    import onnx

SIDE = 160
BASE = "yolo11-seg"
ALL = (BASE, *MODELS)
"""All of them; the base first."""


@functools.cache
def zoo_graph(name: str, side: int = SIDE) -> onnx.ModelProto:
    """The float32 graph of a model at scale n, made once per process; do not change it.

    Args:
        name: One of `ALL`.
        side: Height and width of the input, px.
    """
    import torch

    from lineside.export.cut import fused
    from lineside.export.graph.build import build_graph
    from lineside.export.heads import find_head
    from lineside.export.ultra import load_model

    torch.set_num_threads(1)
    model = load_model(scaled(name, "n"))
    head = find_head(model, (side, side), False).contract
    graph, _ = build_graph(fused(model), head, 1, [str(index) for index in range(head.classes)], "fp32")
    return graph
