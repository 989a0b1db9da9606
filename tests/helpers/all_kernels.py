"""Every kernel of the program, for the tests that all of them must pass.

The frame's kernels are those of `lineside.runtime.cuda.kernels.KERNELS`; those of the operators are asked of
`lineside.runtime.ops.table.OPS`, in the configurations below, in FP32 and FP16. A kernel that is found is compiled for every
GPU, held against its declaration and looked at for spills, with nothing more to write; a ``.cu`` file that no kernel comes
from fails a test.
"""

from __future__ import annotations

from pathlib import Path

from helpers.example_kernels import BLOCK_SUM, EARLY, NARROW
from lineside import runtime
from lineside.runtime.cuda.kernels import KERNELS
from lineside.runtime.kernels.kernel import Kernel
from lineside.runtime.ops.table import find_device_op

OPERATORS = (
    "Carafe_k5_up2",
    "Carafe_k3_up1_g2_reflect",
    "MSDeformAttn_l3",
    "ModDeformConv2d_k3_s1",
    "SelectiveScan_n1_softplus_bias_skip",
    "SelectiveScan_n16_softplus_bias_skip_gate_last",
)
"""Configurations that differ in what the compiler sees, of every operator."""

RUNTIME = Path(runtime.__file__).parent


def kernels_of_operators() -> list[Kernel]:
    """Those of the operators that have one; the deformable convolution is TensorRT's own."""
    found = []
    for name in OPERATORS:
        op = find_device_op(name)
        assert op is not None, f"there is no operator {name}"
        found += [kernel for half in (False, True) if (kernel := op.device_kernel(half)) is not None]
    return found


def tables() -> list[Kernel]:
    """The kernels of the program."""
    return [*KERNELS, *kernels_of_operators()]


def all_kernels() -> list[Kernel]:
    """The kernels of the program and some of the tests."""
    return [*tables(), BLOCK_SUM, EARLY, NARROW]


def sources_in_the_tree() -> set[Path]:
    """Every CUDA source of the program."""
    return {path.resolve() for path in RUNTIME.resolve().rglob("*.cu")}
