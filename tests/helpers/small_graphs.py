"""Graphs of the zoo at 160 px with random weights, as an export writes them, and a plain way to run a graph."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

SIDE = 160


@lru_cache(maxsize=3)
def small_graph(name: str) -> onnx.ModelProto:
    """The graph of a model such as ``yolo11n-seg-dcn.yaml``; it is not to be changed."""
    import torch

    from lineside.export.cut import fused
    from lineside.export.graph.build import build_graph
    from lineside.export.heads import find_head
    from lineside.export.pictures import drawn_pictures
    from lineside.export.settle import settle
    from lineside.export.ultra import load_model

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = load_model(name)
        settle(model, drawn_pictures(()))
        head = find_head(model, (SIDE, SIDE), False).contract
        return build_graph(fused(model), head, 1, [str(index) for index in range(head.classes)], "fp32")[0]
    finally:
        torch.set_num_threads(threads)


def smooth_input(seed: int = 0, side: int = SIDE) -> npt.NDArray[np.float32]:
    """Blocks of 8 pixels with random colours, 0 to 1, ``(1, 3, side, side)``."""
    blocks = np.random.default_rng(seed).random((1, 3, side // 8, side // 8))
    return np.kron(blocks, np.ones((8, 8))).astype(np.float32)


def run_graph(model: onnx.ModelProto, *inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Outputs of a graph by name, through onnxruntime with one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    opened = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = dict(zip([value.name for value in opened.get_inputs()], inputs, strict=True))
    return dict(zip([value.name for value in opened.get_outputs()], opened.run(None, given), strict=True))
