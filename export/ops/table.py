"""Which operators the training side has, and the way from a node's name back to its operator."""

from __future__ import annotations

from typing import cast

from lineside.export.ops.op import CustomOp
from lineside.runtime.ops.table import find_in

__all__ = ["OPS", "find_op"]

OPS = {
    "Carafe": "lineside.export.ops.carafe:Carafe",
    "MSDeformAttn": "lineside.export.ops.ms_deform_attn:MSDeformAttn",
    "ModDeformConv2d": "lineside.export.ops.mod_deform_conv2d:ModDeformConv2d",
    "SelectiveScan": "lineside.export.ops.selective_scan:SelectiveScan",
}
"""Class of an operator by its name without configuration; each one adds to its declaration in `lineside.runtime.ops`."""


def find_op(name: str) -> CustomOp | None:
    """The operator of a node.

    Args:
        name: Type of the node, such as ``ModDeformConv2d_k3_s1``.

    Returns:
        The operator in that configuration; None where there is none of that name.
    """
    return cast("CustomOp | None", find_in(OPS, name))
