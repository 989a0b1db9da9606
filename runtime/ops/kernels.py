"""The operators' kernels in the configurations that the models of the zoo use, in both element types.

Every other configuration compiles from the same sources; these are the ones that are looked at one by one.
"""

from __future__ import annotations

from lineside.runtime.kernels.kernel import Kernel
from lineside.runtime.ops.table import find_device_op

__all__ = ["KERNELS", "NAMES"]

NAMES = (
    "Carafe_k3_up1",
    "Carafe_k5_up2",
    "Carafe_k5_up2_g2_reflect",
    "MSDeformAttn_l3",
    "SelectiveScan_n1_softplus_bias_skip",
    "SelectiveScan_n16_softplus_bias_skip_gate_last",
)
"""Operators with a kernel."""


def _kernels() -> tuple[Kernel, ...]:
    found = [op.device_kernel(half) for op in map(find_device_op, NAMES) if op is not None for half in (False, True)]
    return tuple(kernel for kernel in found if kernel is not None)


KERNELS = _kernels()
