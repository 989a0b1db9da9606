"""Launches of kernels on numpy arrays, for the processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.kernels.host import Execution, host_function
from lineside.runtime.kernels.kernel import Kernel, Launch

Sides = int | tuple[int, ...]


def launch_of(
    kernel: Kernel, grid: Sides, block: Sides, *arguments: npt.NDArray[Any] | float | None, shared: int = 0
) -> Launch:
    """A launch with the addresses of arrays; the caller keeps the arrays until it has run.

    Args:
        kernel: What to launch.
        grid: Blocks along x, or along x, y and z.
        block: Threads, likewise.
        arguments: An array (contiguous) or None for a pointer, a number for the rest.
        shared: Bytes of dynamic shared memory.
    """
    return Launch(kernel, _sides(grid), _sides(block), shared, tuple(_plain(argument) for argument in arguments))


def run_on_host(
    kernel: Kernel,
    grid: Sides,
    block: Sides,
    *arguments: npt.NDArray[Any] | float | None,
    shared: int = 0,
    execution: Execution = "fibres",
) -> None:
    """Runs a kernel on arrays, which it changes."""
    host_function(kernel, execution)(launch_of(kernel, grid, block, *arguments, shared=shared))


def _sides(sides: Sides) -> tuple[int, int, int]:
    x, y, z = (*((sides,) if isinstance(sides, int) else sides), 1, 1)[:3]
    return x, y, z


def _plain(argument: npt.NDArray[Any] | float | None) -> int | float:
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous, "kernels count on contiguous arrays"
        return int(argument.ctypes.data)
    return 0 if argument is None else argument
