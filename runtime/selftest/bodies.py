"""The body of one operator, cut out of a bundle's model and executed by itself on the processor.

A bundle brings its operators as functions of standard ones. One node that calls such a function is a whole model, small
enough to be written here without the package onnx. Numbers of fields are those of ONNX's public ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.ops.op import DOMAIN
from lineside.runtime.protobuf import Field, bytes_field, int_field, read, write

if TYPE_CHECKING:
    from lineside.runtime.ops.op import DeviceOp

__all__ = ["body_model", "run_body"]

IR_VERSION, GRAPH, OPSETS, FUNCTIONS = 1, 7, 8, 25
"""Fields of ModelProto."""
NODES, GRAPH_NAME, GRAPH_INPUTS, GRAPH_OUTPUTS = 1, 2, 11, 12
"""Fields of GraphProto."""
INPUTS, OUTPUTS, OP_TYPE, NODE_DOMAIN = 1, 2, 4, 7
"""Fields of NodeProto."""
FUNCTION_NAME = 1
FLOAT, INT32 = 1, 6
"""Element types."""


def body_model(model: bytes, op: DeviceOp, shapes: Sequence[tuple[int, ...]]) -> bytes | None:
    """An ONNX file that calls the body of an operator once.

    Args:
        model: The bundle's model.
        op: The operator.
        shapes: Of the inputs, all of them given.

    Returns:
        The file, with inputs and outputs named as the operator does; None where the model has no such function.
    """
    fields = read(model)
    function = next((field for field in fields if field.number == FUNCTIONS and _name(field) == op.name), None)
    if function is None:
        return None
    names = op.inputs[: len(shapes)]
    results = op.shapes(*shapes)
    node = [
        *(bytes_field(INPUTS, name) for name in names),
        *(bytes_field(OUTPUTS, name) for name in op.outputs),
        bytes_field(OP_TYPE, op.name),
        bytes_field(NODE_DOMAIN, DOMAIN),
    ]
    graph = [
        bytes_field(NODES, write(node)),
        bytes_field(GRAPH_NAME, "body"),
        *(_value(GRAPH_INPUTS, op, name, shape) for name, shape in zip(names, shapes, strict=True)),
        *(_value(GRAPH_OUTPUTS, op, name, shape) for name, shape in zip(op.outputs, results, strict=True)),
    ]
    kept = [field for field in fields if field.number in (IR_VERSION, OPSETS)]
    return write([*kept, bytes_field(GRAPH, write(graph)), function])


def run_body(model: bytes, op: DeviceOp, inputs: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]] | None:
    """What the body of an operator computes, by onnxruntime.

    Args:
        model: The bundle's model.
        op: The operator.
        inputs: Its inputs, float32 and int32.

    Returns:
        Its outputs; None where the model has no such function.

    Raises:
        EngineUnavailable: onnxruntime is not there.
        EngineFailed: It refuses the body.
    """
    from lineside.runtime.engines.onnxruntime import run_once

    file = body_model(model, op, [tuple(one.shape) for one in inputs])
    if file is None:
        return None
    return run_once(file, dict(zip(op.inputs, inputs, strict=False)))


def _name(function: Field) -> str:
    return next((field.text for field in read(function.data) if field.number == FUNCTION_NAME), "")


def _value(number: int, op: DeviceOp, name: str, shape: tuple[int, ...]) -> Field:
    """A ValueInfoProto: a name, an element type and sides."""
    sides = write([bytes_field(1, write([int_field(1, int(side))])) for side in shape])
    kind = INT32 if name in op.integers else FLOAT
    tensor = write([int_field(1, kind), bytes_field(2, sides)])
    return bytes_field(number, write([bytes_field(1, name), bytes_field(2, write([bytes_field(1, tensor)]))]))


def rounded(inputs: Sequence[npt.NDArray[Any]], names: Sequence[str], half: frozenset[str]) -> list[npt.NDArray[Any]]:
    """Inputs as FP16 holds them, in float32, for those that a kernel reads in FP16.

    Args:
        inputs: Inputs of an operator.
        names: Their names.
        half: Those that are FP16.
    """
    return [
        one.astype(np.float16).astype(np.float32) if name in half else one
        for one, name in zip(inputs, names, strict=False)
    ]
