"""Writes a torch model down as an ONNX graph with static shapes."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence

import onnx
import torch
from torch import nn

from lineside.runtime.errors import ExportError

__all__ = ["OPSET", "to_onnx"]

OPSET = 18
"""Newest opset whose Resize and ReduceMax have CUDA kernels in onnxruntime; 20 is the newest we may write."""


def to_onnx(model: nn.Module, shape: Sequence[int], output_names: Sequence[str], opset: int = OPSET) -> onnx.ModelProto:
    """Traces a model into an ONNX graph.

    Args:
        model: A model in eval mode with one float32 input and a tuple of tensors as output.
        shape: Shape of the input ``(batch, 3, h, w)``; static in the graph.
        output_names: Names of the outputs, in order.
        opset: Opset of the default domain.

    Returns:
        The graph as torch writes it, not simplified; its input is named ``images``.

    Raises:
        ExportError: An operator of the model has no ONNX form, or the model cannot be traced.
    """
    buffer = io.BytesIO()
    example = torch.zeros(tuple(shape), dtype=torch.float32)
    with torch.no_grad(), warnings.catch_warnings():
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
                input_names=["images"],
                output_names=list(output_names),
                do_constant_folding=True,
                dynamo=False,
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
