"""Writes a torch model down as an ONNX graph, with static shapes or with sides that stay free."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import nn

from lineside.export.graph.finish import Sides
from lineside.export.ops.emit import as_nodes
from lineside.runtime.errors import ExportError

__all__ = ["INPUT", "OPSET", "free_sides", "to_onnx"]

INPUT = "images"
"""Name of the input."""

OPSET = 18
"""Newest opset whose Resize and ReduceMax have CUDA kernels in onnxruntime; 20 is the newest we may write."""


def free_sides(shape: Sequence[int], size: tuple[int, int]) -> Sides:
    """The shape of a picture-like tensor with symbols for what a dynamic graph leaves free.

    Args:
        shape: Its shape ``(batch, channels, h, w)`` for an input of that size.
        size: Height and width of the input in pixels.

    Returns:
        Such as ``("batch", 64, "height/8", "width/8")``.
    """
    symbols = [
        name if side == whole else f"{name}/{whole // side}"
        for name, whole, side in zip(("height", "width"), size, shape[2:], strict=True)
    ]
    return ("batch", shape[1], *symbols)


def to_onnx(
    model: nn.Module,
    shape: Sequence[int],
    output_names: Sequence[str],
    opset: int = OPSET,
    free: Mapping[str, Sides] | None = None,
    leave_unknown: bool = False,
) -> onnx.ModelProto:
    """Traces a model into an ONNX graph.

    Args:
        model: A model in eval mode with one float32 input and a tuple of tensors as output.
        shape: Shape of the input ``(batch, 3, h, w)``; static in the graph unless named in ``free``.
        output_names: Names of the outputs, in order.
        opset: Opset of the default domain.
        free: Shapes of the input and of outputs of which those sides that are symbols stay free.
        leave_unknown: Leave operators without an ONNX form in the graph under their torch names, such as
            ``aten::special_bessel_j0``, instead of raising. No engine runs such a graph; it shows where they are.

    Returns:
        The graph as torch writes it, not simplified; its input is named `INPUT`. Operators of ours are single nodes,
        whose functions `lineside.export.ops.declare.DECLARE` adds.

    Raises:
        ExportError: An operator of the model has no ONNX form, or the model cannot be traced.
    """
    buffer = io.BytesIO()
    example = torch.zeros(tuple(shape), dtype=torch.float32)
    kinds = torch.onnx.OperatorExportTypes
    with torch.no_grad(), as_nodes(), _without_graph_dumps(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # traced sizes are constants on purpose, and so is the TorchScript exporter
        noise = logging.getLogger("torch.onnx")
        level = noise.level
        noise.setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                model,
                (example,),
                buffer,  # type: ignore[arg-type]  # the TorchScript exporter writes into an open file as well
                opset_version=opset,
                input_names=[INPUT],
                output_names=list(output_names),
                dynamic_axes={
                    name: {axis: side for axis, side in enumerate(sides) if isinstance(side, str)}
                    for name, sides in (free or {}).items()
                },
                do_constant_folding=True,
                dynamo=False,
                operator_export_type=kinds.ONNX_FALLTHROUGH if leave_unknown else kinds.ONNX,
            )
        except Exception as error:
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ExportError(
                f"torch cannot write this model as ONNX opset {opset} ({text}): replace the block that it names with "
                "one made of standard operators"
            ) from error
        finally:
            noise.setLevel(level)
    return onnx.load_from_string(buffer.getvalue())


@contextlib.contextmanager
def _without_graph_dumps() -> Iterator[None]:
    """Keeps torch from printing the whole graph to stdout where it cannot write an operator.

    It means to do so with ``verbose`` only, but takes the function that asks whether its log is on for the answer.
    """
    functions: Any = torch._C
    log = getattr(functions, "_jit_onnx_log", None)
    if log is not None:
        functions._jit_onnx_log = lambda *words: None
    try:
        yield
    finally:
        if log is not None:
            functions._jit_onnx_log = log
