"""Every kernel of the program, for the tests that all of them must pass.

They come from two tables: `lineside.runtime.cuda.kernels.KERNELS`, the frame's, and `lineside.runtime.ops.kernels.KERNELS`,
the operators'. A kernel in a table is compiled for every GPU, held against its declaration and looked at for spills, with
nothing more to write; a ``.cu`` file that no table knows fails a test.
"""

from __future__ import annotations

from pathlib import Path

from helpers.example_kernels import BLOCK_SUM, EARLY, NARROW
from lineside import runtime
from lineside.runtime.cuda.kernels import KERNELS as FRAME
from lineside.runtime.kernels.kernel import Kernel
from lineside.runtime.ops.kernels import KERNELS as OPERATORS

RUNTIME = Path(runtime.__file__).parent


def tables() -> list[Kernel]:
    """The kernels of the program."""
    return [*FRAME, *OPERATORS]


def all_kernels() -> list[Kernel]:
    """The kernels of the program and some of the tests."""
    return [*tables(), BLOCK_SUM, EARLY, NARROW]


def sources_in_the_tree() -> set[Path]:
    """Every CUDA source of the program."""
    return {path.resolve() for path in RUNTIME.resolve().rglob("*.cu")}
