"""Puts the standard operator ``DeformConv`` in the place of ours, for engines that have a kernel for it."""

from __future__ import annotations

from typing import Literal

import onnx
from onnx import helper

from lineside.export.graph.passes import GraphPass
from lineside.export.ops.mod_deform_conv2d import ModDeformConv2d
from lineside.export.ops.op import DOMAIN
from lineside.export.ops.table import find_op
from lineside.runtime.ops.mod_deform_conv2d import STANDARD, STANDARD_OPSET

__all__ = ["NATIVE_DEFORM", "NATIVE_OPSET", "Deform", "standard_node"]

Deform = Literal["portable", "native"]
"""How a graph holds deformable convolutions: as our function, or as the standard operator."""

NATIVE_OPSET = STANDARD_OPSET
"""First opset with ``DeformConv``."""


def standard_node(node: onnx.NodeProto, op: ModDeformConv2d) -> onnx.NodeProto:
    """The standard operator with the inputs and the configuration of a node of ours.

    Args:
        node: A node of ours.
        op: Its operator.

    Returns:
        A ``DeformConv`` node; ONNX orders its inputs x, weight, offset, bias, mask.
    """
    return helper.make_node(
        STANDARD, op.standard_inputs(node.input), list(node.output), name=node.name, **op.standard_attributes
    )


def _ours(node: onnx.NodeProto) -> ModDeformConv2d | None:
    """The operator of a node, where it is a deformable convolution of ours."""
    op = find_op(node.op_type) if node.domain == DOMAIN else None
    return op if isinstance(op, ModDeformConv2d) else None


def _to_standard(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replaces each such node."""
    for node in model.graph.node:
        op = _ours(node)
        if op is not None:
            node.CopyFrom(standard_node(node, op))
    return model


def _has_some(model: onnx.ModelProto) -> str | None:
    """There is something to replace, in an opset that has the standard operator."""
    opset = next((entry.version for entry in model.opset_import if entry.domain == ""), 0)
    if opset < NATIVE_OPSET:
        return f"its opset is {opset}, and DeformConv is in opset {NATIVE_OPSET} and newer"
    if not any(_ours(node) for node in model.graph.node):
        return "the model has no deformable convolution, so leave out --deform native"
    return None


NATIVE_DEFORM = GraphPass("native DeformConv", _to_standard, requires=_has_some)
"""The same values as the portable body, and faster where there is a kernel; see `lineside.export.oldest_onnxruntime`."""
