"""Every kernel of the program, for the tests that all of them must pass.

A folder of kernels is found by its table: `lineside.runtime.cuda.kernels.KERNELS` (the frame's) and
`lineside.runtime.ops.kernels.KERNELS` (the operators', one for each precision), tuples of `Kernel`. A kernel in a table
is compiled for every GPU, held against its declaration and looked at for spills, with nothing more to write.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from helpers.example_kernels import BLOCK_SUM, EARLY, NARROW
from lineside.runtime.kernels.kernel import Kernel

TABLES = ("lineside.runtime.cuda.kernels", "lineside.runtime.ops.kernels")
RUNTIME = Path(__file__).resolve().parents[2] / "runtime"


def tables() -> list[Kernel]:
    """The kernels of the program."""
    found: list[Kernel] = []
    for name in TABLES:
        if importlib.util.find_spec(name.rpartition(".")[0]) and importlib.util.find_spec(name):
            found += importlib.import_module(name).KERNELS
    return found


def all_kernels() -> list[Kernel]:
    """The kernels of the program and some of the tests."""
    return [*tables(), BLOCK_SUM, EARLY, NARROW]


def sources_in_the_tree() -> set[Path]:
    """Every CUDA source of the program."""
    return set(RUNTIME.rglob("*.cu"))
