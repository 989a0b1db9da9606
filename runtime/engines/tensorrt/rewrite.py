"""Fits a bundle's ONNX file to a version of TensorRT: plugins in the place of functions, where there are plugins.

A node of ours brings a function with its body, which every TensorRT can run, and attributes that name a plugin. From
10.7 on the parser takes the plugin where one is registered; before, the function always wins, so it is taken out. Where
functions shall run, the nodes lose their attributes: another model of the process may have registered the plugin. The
deformable convolution becomes ONNX's standard operator, for which TensorRT has a plugin of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lineside.runtime.onnx_file import Node, OnnxFile, ints_attribute, text_attribute
from lineside.runtime.ops.mod_deform_conv2d import STANDARD, STANDARD_OPSET, DeviceModDeformConv2d
from lineside.runtime.ops.op import DOMAIN, VERSION
from lineside.runtime.ops.table import find_device_op

if TYPE_CHECKING:
    from lineside.runtime.ops.op import DeviceOp

__all__ = ["AHEAD_NAMESPACE", "Rewritten", "kernels_of", "rewrite", "unnamed"]

AHEAD_NAMESPACE = "lineside_ops"
"""Namespace of plugins that are compiled into a plan: TensorRT admits no dots there."""

PREFERS_PLUGINS = (10, 7)
"""From here on the parser takes a plugin where there is a function too."""


@dataclass(frozen=True)
class Rewritten:
    """A model for the parser.

    Attributes:
        onnx: The file.
        plugins: Operators for which plugins must be registered.
        native: Types of nodes that became a standard operator.
        bodies: Types of nodes that run as their function.
    """

    onnx: bytes
    plugins: tuple[DeviceOp, ...]
    native: tuple[str, ...]
    bodies: tuple[str, ...]


def rewrite(onnx: bytes, version: tuple[int, ...], *, plugins: bool, standalone: bool) -> Rewritten:
    """Fits a model to a version of TensorRT.

    Args:
        onnx: The bundle's model; it comes back byte for byte where nothing is to be done.
        version: Version of TensorRT.
        plugins: Whether operators of ours become plugins; else all run as their functions.
        standalone: Whether the plugins are to be compiled into the plan.

    Raises:
        BundleDamaged: It is no ONNX file.
    """
    file = OnnxFile(onnx)
    used = file.types(DOMAIN)
    ops = {name: op for name in used if (op := find_device_op(name)) is not None} if plugins else {}
    new_enough = file.opsets.get("", 0) >= STANDARD_OPSET
    native = {name: op for name, op in ops.items() if isinstance(op, DeviceModDeformConv2d) and new_enough}
    taken = {name: op for name, op in ops.items() if op.device_kernel(False) is not None}
    if not plugins:
        file.change_nodes(lambda node: unnamed(node) if node.domain == DOMAIN else node)
    if native:
        file.change_nodes(lambda node: _standard(node, native) if node.domain == DOMAIN else node)
    if taken and standalone:
        file.change_nodes(lambda node: _ahead(node) if node.domain == DOMAIN and node.op_type in taken else node)
        file.add_opset(AHEAD_NAMESPACE, VERSION)
    if taken and (standalone or version < PREFERS_PLUGINS):
        file.drop_functions(DOMAIN, taken)
    if native:
        file.drop_functions(DOMAIN, native)
    return Rewritten(
        onnx=file.to_bytes(),
        plugins=tuple(taken.values()),
        native=tuple(native),
        bodies=tuple(name for name in used if name not in native and name not in taken),
    )


def unnamed(node: Node) -> Node:
    """A node of ours that no parser takes for a plugin, whatever is registered: none of its attributes is for its body."""
    return node.changed(node.op_type, node.domain, attributes=())


def kernels_of(ops: tuple[DeviceOp, ...]) -> dict[str, str]:
    """Fingerprint of the kernels of each operator, in both element types, by its name.

    Args:
        ops: Operators; those without a kernel are left out.
    """
    found = {}
    for op in ops:
        kernels = [kernel for kernel in (op.device_kernel(False), op.device_kernel(True)) if kernel is not None]
        if kernels:
            found[op.name] = hashlib.sha256("".join(kernel.fingerprint() for kernel in kernels).encode()).hexdigest()
    return found


def _standard(node: Node, native: Mapping[str, DeviceModDeformConv2d]) -> Node:
    """``DeformConv`` with the inputs and the configuration of a node of ours."""
    op = native.get(node.op_type)
    if op is None:
        return node
    attributes = [ints_attribute(name, value) for name, value in op.standard_attributes.items()]
    return node.changed(STANDARD, "", op.standard_inputs(node.inputs), attributes)


def _ahead(node: Node) -> Node:
    """The same node in the namespace of plugins that are compiled into a plan."""
    return node.changed(node.op_type, AHEAD_NAMESPACE).with_attribute(
        text_attribute("plugin_namespace", AHEAD_NAMESPACE)
    )
