"""Which operators there are for a device, and the way from a node's name back to its operator."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from lineside.runtime.ops.op import DeviceOp

__all__ = ["OPS", "find_device_op", "find_in"]

OPS = {
    "Carafe": "lineside.runtime.ops.carafe:DeviceCarafe",
    "MSDeformAttn": "lineside.runtime.ops.ms_deform_attn:DeviceMSDeformAttn",
    "ModDeformConv2d": "lineside.runtime.ops.mod_deform_conv2d:DeviceModDeformConv2d",
    "SelectiveScan": "lineside.runtime.ops.selective_scan:DeviceSelectiveScan",
}
"""Class of an operator by its name without configuration."""


def find_device_op(name: str) -> DeviceOp | None:
    """The operator of a node.

    Args:
        name: Type of the node, such as ``ModDeformConv2d_k3_s1``, as the manifest lists them in ``custom_ops``.

    Returns:
        The operator in that configuration; None where there is none of that name.
    """
    return find_in(OPS, name)


def find_in(table: Mapping[str, str], name: str) -> DeviceOp | None:
    """The operator of a node, as the classes of a table declare it.

    Args:
        table: Class, ``module:attribute``, by name without configuration: `OPS`, or that of the training side.
        name: Type of the node.

    Returns:
        The operator in that configuration; None where the table has none of that name.
    """
    target = table.get(name.partition("_")[0])
    if target is None:
        return None
    module, _, attribute = target.partition(":")
    found: type[DeviceOp] = getattr(import_module(module), attribute)
    return found.parse(name)
