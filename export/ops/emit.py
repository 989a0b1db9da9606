"""Runs an operator in torch, and leaves one node of ours where a model is traced into ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from lineside.export.ops.op import DOMAIN, PLUGIN, CustomOp, Shape

__all__ = ["as_nodes", "call"]

_PROBES = (96, 160)
"""Two sides to ask for the shape of a result with, where a side is free; multiples of every stride."""

_AS_NODES = ContextVar("as_nodes", default=False)


@contextmanager
def as_nodes() -> Iterator[None]:
    """Within it `call` leaves a node; for an exporter that declares the functions afterwards.

    Elsewhere, as in the exports of ultralytics, an operator is traced as the standard operators that its torch form is
    made of.
    """
    before = _AS_NODES.set(True)
    try:
        yield
    finally:
        _AS_NODES.reset(before)


def call(op: CustomOp, *tensors: torch.Tensor) -> Any:
    """Applies an operator.

    Args:
        op: The operator.
        tensors: Its inputs; optional ones at the end may be left out.

    Returns:
        Its output; a tuple where it has more than one. Within `as_nodes` the values are zeros of the right shape, since
        only the node counts.
    """
    if _AS_NODES.get():
        results = _Node.apply(op, *op.complete(*tensors))
        return results if len(op.outputs) > 1 else results[0]
    return op.torch(*tensors)


class _Node(torch.autograd.Function):
    """An operator as the exporter sees it: one node, whatever the computation is made of."""

    @staticmethod
    def forward(ctx: Any, op: CustomOp, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        shapes = op.shapes(*(tuple(int(side) for side in tensor.shape) for tensor in tensors))
        return tuple(tensors[0].new_zeros(shape) for shape in shapes)

    @staticmethod
    def symbolic(graph: Any, op: CustomOp, *values: Any) -> tuple[Any, ...]:
        attributes = {f"{key}{_suffix(value)}": value for key, value in {**PLUGIN, **op.attributes}.items()}
        results = graph.op(f"{DOMAIN}::{op.name}", *values, outputs=len(op.outputs), **attributes)
        results = results if isinstance(results, (tuple, list)) else (results,)
        for result, shape in zip(results, _known(op, values), strict=True):
            result.setType(values[0].type().with_sizes(shape))
        return tuple(results)


def _suffix(value: Any) -> str:
    """How the exporter marks the type of an attribute."""
    first = value[0] if isinstance(value, (list, tuple)) else value
    return "_s" if isinstance(first, str) else "_f" if isinstance(first, float) else "_i"


def _known(op: CustomOp, values: Any) -> list[list[int | None]]:
    """Shapes of the outputs, None where a side depends on a side that is free in the graph."""
    sizes = [value.type().varyingSizes() for value in values]
    if any(shape is None for shape in sizes):
        raise ValueError(f"the number of dimensions of an input of {op.name} is not known")
    first, second = (op.shapes(*(_filled(shape, side) for shape in sizes)) for side in _PROBES)
    return [[a if a == b else None for a, b in zip(*pair, strict=True)] for pair in zip(first, second, strict=True)]


def _filled(shape: list[int | None], side: int) -> Shape:
    """A shape with its free sides set."""
    return tuple(side if length is None else length for length in shape)
