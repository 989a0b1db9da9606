"""Builds one model of the zoo and counts what it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lineside.export.cut import cut_tail, fused
from lineside.export.graph.build import build_graph
from lineside.export.heads import find_head
from lineside.export.ops.declare import used_ops
from lineside.export.ultra import load_model

__all__ = ["BASE", "Built", "build", "model_of", "short_names"]

BASE = "base"
"""Name of ultralytics' own model, to which all others are compared."""

FAMILY = "yolo11"
ENDING = "-seg"


@dataclass(frozen=True)
class Built:
    """A model and its graph.

    Attributes:
        parameters: Numbers in the model as exported.
        gflops: Operations of one picture, 1e9.
        nodes: Nodes of the graph.
        custom_ops: Operators of ours in it.
        onnx: The file.
    """

    parameters: int
    gflops: float
    nodes: int
    custom_ops: tuple[str, ...]
    onnx: bytes


def short_names() -> tuple[str, ...]:
    """The models of ``configs/models`` without what all their names have in common, such as ``edge``."""
    from lineside.export.ultra import prepare
    from lineside.export.yolo.register import model_names

    prepare()
    return tuple(name.removeprefix(f"{FAMILY}{ENDING}-").removesuffix(".yaml") for name in model_names())


def model_of(name: str, scale: str) -> str:
    """What to call a model: ``yolo11n-seg-edge.yaml`` for ``edge``, ``yolo11n-seg.yaml`` for the base."""
    return f"{FAMILY}{scale}{ENDING}{'' if name == BASE else f'-{name}'}.yaml"


def build(model: str, size: tuple[int, int]) -> Built:
    """Builds a model with random weights and its graph.

    Args:
        model: A name that `load_model` knows.
        size: Height and width of the input in pixels.

    Returns:
        The graph and the counts.

    Raises:
        WeightsError: The model cannot be built.
        ExportError: It cannot be exported.
        BadOption: The size does not fit its strides.
    """
    loaded = load_model(model)
    head = find_head(loaded, size).contract
    plain = fused(loaded)
    graph, _ = build_graph(plain, head, 1, [str(index) for index in range(head.classes)], "fp32")
    cut = cut_tail(plain, size)
    return Built(
        parameters=sum(parameter.numel() for parameter in cut.parameters()),
        gflops=_operations(cut, size) / 1e9,
        nodes=len(graph.graph.node),
        custom_ops=used_ops(graph),
        onnx=graph.SerializeToString(),
    )


def _operations(model: nn.Module, size: tuple[int, int]) -> int:
    """Operations of convolutions and matrix products in one pass; nothing is computed."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad():
        try:
            with FakeTensorMode(allow_non_fake_inputs=True), counter:
                model(torch.zeros(1, 3, *size))
        except Exception:  # a block that takes numbers out of tensors must be run
            counter = FlopCounterMode(display=False)
            with counter:
                model(torch.zeros(1, 3, *size))
    return int(counter.get_total_flops())
