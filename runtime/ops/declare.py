"""How the kernels of operators are declared: inputs, whole numbers, outputs; the configuration as macros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lineside.runtime.kernels.kernel import Kernel, Parameter
from lineside.runtime.ops.op import DeviceOp

__all__ = ["HALF", "kernel_of"]

HALF = "LINESIDE_HALF"
"""Macro: 1 where the floating tensors are float16."""


def kernel_of(op: DeviceOp, name: str, sizes: Sequence[str], defines: Mapping[str, int], half: bool) -> Kernel:
    """Declares the kernel of an operator.

    Args:
        op: The operator.
        name: The function, and its file in this folder without ``.cu``.
        sizes: Names of its ints.
        defines: The configuration, as macros.
        half: Whether the floating tensors are float16.
    """

    def kind(tensor: str) -> str:
        if tensor in op.integers:
            return "int"
        return "half" if half and tensor in op.floating else "float"

    return Kernel(
        name,
        Path(__file__).resolve().parent / f"{name}.cu",
        (
            *(Parameter(tensor, "pointer", f"const {kind(tensor)}*") for tensor in op.inputs),
            *(Parameter(size, "int") for size in sizes),
            *(Parameter(tensor, "pointer", f"{kind(tensor)}*") for tensor in op.outputs),
        ),
        tuple(sorted((key, str(value)) for key, value in {**defines, HALF: int(half)}.items())),
    )
