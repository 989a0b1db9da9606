"""Whether a target can run the body of standard operators that the standard itself gives some operators."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import defs

from lineside.export.doctor.target import Target

__all__ = ["NO_KERNEL", "runs_by_body"]

NO_KERNEL = frozenset({"Constant"})
"""Operators that engines fold away when they load a graph."""


def runs_by_body(op: str, opset: int, kind: str | None, target: Target) -> bool:
    """Whether an operator of the default domain has a body that the target runs in its place.

    A body is written for an opset, and holds in a newer one only while none of its operators has got another meaning
    since (proved against onnxruntime by ``tests/export/doctor``).

    Args:
        op: Type of the operator.
        opset: Opset of the graph.
        kind: Element type that it works on, such as ``double``; None where nothing tells.
        target: What is to run it.
    """
    schema: Any = _schema(op, opset) if target.standard_bodies else None
    if schema is None:
        return False
    versions = [version for version in schema.function_opset_versions if version <= opset]
    if not versions:
        return bool(schema.has_context_dependent_function)
    version = max(versions)
    body = onnx.FunctionProto.FromString(schema.get_function_with_opset_version(version))
    return all(_runs(node.op_type, version, opset, kind, target) for node in body.node)


def _runs(op: str, version: int, opset: int, kind: str | None, target: Target) -> bool:
    """Whether an operator of a body means the same in the graph's opset, and runs there."""
    then, now = _schema(op, version), _schema(op, opset)
    if then is None or now is None or then.since_version != now.since_version:
        return False
    if op in NO_KERNEL:
        return True
    kernels = target.find_kernels("", op, now.since_version)
    if any(kind is None or not it.types or any(kind in allowed for allowed in it.types.values()) for it in kernels):
        return True
    return runs_by_body(op, opset, kind, target)


def _schema(op: str, opset: int) -> defs.OpSchema | None:
    try:
        return defs.get_schema(op, opset, "")
    except defs.SchemaError:
        return None
