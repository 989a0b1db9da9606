"""One operator in one configuration with inputs, and the ways to run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnx import helper

from lineside.export.graph.passes import run_passes
from lineside.export.ops.declare import DECLARE
from lineside.export.ops.op import DOMAIN, PLUGIN, CustomOp

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OpCase:
    """What to compare.

    Attributes:
        op: The operator.
        inputs: Makes its inputs, the first one float32, of batch size one or more, optional ones left out or not.
        oracle: Computes it in plain numpy, float64 where it likes, from the operator and its inputs.
        tolerance: Most that two forms may differ by, as a part of the largest magnitude.
        label: Sets apart cases of one operator.
    """

    op: CustomOp
    inputs: Callable[[np.random.Generator], Sequence[Array]]
    oracle: Callable[..., Sequence[Array]]
    tolerance: float = 1e-5
    label: str = ""

    def __str__(self) -> str:
        return "-".join(part for part in (self.op.name, self.label) if part)


def single_node(op: CustomOp, inputs: Sequence[Array], free: bool = False) -> onnx.ModelProto:
    """A graph of this one node with its function; with sides that are free, or as the inputs have them."""

    def sides(name: str, shape: Sequence[int]) -> list[int | str]:
        return [f"{name}{axis}" if free else side for axis, side in enumerate(shape)]

    used = list(op.inputs[: len(inputs)])
    kinds = {name: helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) for name, dtype in op.dtypes.items()}
    node = helper.make_node(op.name, used, list(op.outputs), domain=DOMAIN, **PLUGIN, **op.attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(name, kinds[name], sides(name, array.shape))
            for name, array in zip(used, inputs, strict=True)
        ],
        [
            helper.make_tensor_value_info(name, kinds[name], sides(name, shape))
            for name, shape in zip(op.outputs, op.shapes(*(array.shape for array in inputs)), strict=True)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return run_passes(model, [DECLARE])[0]


def run_single(model: onnx.ModelProto, inputs: Sequence[Array]) -> list[Array]:
    """Outputs of such a graph on onnxruntime."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {value.name: array for value, array in zip(session.get_inputs(), inputs, strict=True)}
    return [np.asarray(array) for array in session.run(None, feed)]


def run_torch(op: CustomOp, inputs: Sequence[Array]) -> list[Array]:
    """Outputs of the torch form."""
    with torch.no_grad():
        found = op.torch(*(torch.from_numpy(array) for array in inputs))
    return [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]
