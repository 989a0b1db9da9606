"""Which operators there are, and the way from a node's name back to its operator."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from lineside.export.ops.op import CustomOp

__all__ = ["OPS", "find_op"]

OPS = {
    "Carafe": "lineside.export.ops.carafe:Carafe",
    "MSDeformAttn": "lineside.export.ops.ms_deform_attn:MSDeformAttn",
    "ModDeformConv2d": "lineside.export.ops.mod_deform_conv2d:ModDeformConv2d",
    "SelectiveScan": "lineside.export.ops.selective_scan:SelectiveScan",
}
"""Class of an operator by its name without configuration."""


def find_op(name: str) -> CustomOp | None:
    """The operator of a node.

    Args:
        name: Type of the node, such as ``ModDeformConv2d_k3_s1``.

    Returns:
        The operator in that configuration; None where there is none of that name.
    """
    target = OPS.get(name.partition("_")[0])
    if target is None:
        return None
    module, _, attribute = target.partition(":")
    return cast("type[CustomOp]", getattr(import_module(module), attribute)).parse(name)
