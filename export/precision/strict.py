"""Checks that a graph is strongly typed: whatever an operator asks to be of one type is of one type."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import inliner

from lineside.export.precision.graph import element_types

__all__ = ["mixed_types"]


def mixed_types(model: onnx.ModelProto) -> list[str]:
    """Nodes, functions expanded, that are given several types where their operator asks for one.

    Args:
        model: The model; left as it was.

    Returns:
        A clause for each; empty for a strongly typed graph.

    Raises:
        ExportError: The element type of a tensor cannot be told.
    """
    flat = inliner.inline_local_functions(model) if model.functions else model
    types = element_types(flat)
    opset = next((entry.version for entry in flat.opset_import if entry.domain == ""), 1)
    return [clause for node in flat.graph.node for clause in _mixed(node, types, opset)]


def _mixed(node: onnx.NodeProto, types: dict[str, int], opset: int) -> Iterator[str]:
    """What is mixed in one node."""
    schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    bound: dict[str, tuple[str, int]] = {}
    for formal, names in ((schema.inputs, node.input), (schema.outputs, node.output)):
        for index, name in enumerate(names):
            slot = formal[min(index, len(formal) - 1)]
            if not name or (
                slot.option == onnx.defs.OpSchema.FormalParameterOption.Variadic and not slot.is_homogeneous
            ):
                continue
            kind = types.get(name)
            if kind is None or slot.type_str not in {bind.type_param_str for bind in schema.type_constraints}:
                continue
            first, known = bound.setdefault(slot.type_str, (name, kind))
            if known != kind:
                said = [onnx.TensorProto.DataType.Name(it).lower() for it in (known, kind)]
                yield f"{node.op_type} '{node.name or node.output[0]}': '{first}' is {said[0]} and '{name}' is {said[1]}"
