"""What no GPU launches, refused before it is tried."""

from __future__ import annotations

import math

from lineside.runtime.errors import EngineFailed
from lineside.runtime.kernels.kernel import Launch

__all__ = ["MOST_BLOCKS", "MOST_SHARED", "MOST_SIDES", "MOST_THREADS", "check_launch"]

MOST_THREADS = 1024
"""Threads of a block."""

MOST_SIDES = (1024, 1024, 64)
"""Threads of a block along x, y and z."""

MOST_SHARED = 48 << 10
"""Bytes of shared memory, static and dynamic, that every GPU gives to a block without being asked for more."""

MOST_BLOCKS = (2**31 - 1, 65535, 65535)
"""Blocks of a grid along x, y and z."""


def check_launch(launch: Launch, static: int = 0) -> None:
    """Refuses a launch that a GPU would refuse.

    Args:
        launch: What is asked for.
        static: Bytes of shared memory that the kernel has of its own.

    Raises:
        EngineFailed: A size is outside of its range, or the arguments do not fit the parameters.
    """
    name, parameters = launch.kernel.name, launch.kernel.parameters
    if len(launch.arguments) != len(parameters):
        raise EngineFailed(
            f"the kernel {name} takes {len(parameters)} arguments and got {len(launch.arguments)}: give one for each of "
            f"{', '.join(parameter.name for parameter in parameters)}"
        )
    for parameter, value in zip(parameters, launch.arguments, strict=True):
        _check_argument(name, parameter.name, parameter.kind, value)
    if not all(1 <= side <= most for side, most in zip(launch.grid, MOST_BLOCKS, strict=True)):
        raise EngineFailed(
            f"the kernel {name} cannot run on a grid of {launch.grid} blocks: from 1 to {MOST_BLOCKS} are possible"
        )
    if (
        not all(1 <= side <= most for side, most in zip(launch.block, MOST_SIDES, strict=True))
        or math.prod(launch.block) > MOST_THREADS
    ):
        raise EngineFailed(
            f"the kernel {name} cannot run in blocks of {launch.block} threads: from 1 to {MOST_THREADS} together, "
            f"{MOST_SIDES} along x, y and z, are possible"
        )
    if launch.shared < 0 or launch.shared + static > MOST_SHARED:
        raise EngineFailed(
            f"the kernel {name} asks for {launch.shared} bytes of shared memory beside {static} of its own: "
            f"{MOST_SHARED} are possible"
        )


def _check_argument(kernel: str, name: str, kind: str, value: int | float) -> None:
    if kind == "float":
        return
    if kind == "int":
        if isinstance(value, int) and -(2**31) <= value < 2**32:
            return
        wanted = "an int of 32 bits"
    else:
        if isinstance(value, int) and 0 <= value < 2**64:
            return
        wanted = "an address"
    raise EngineFailed(f"the argument {name} of the kernel {kernel} is {value!r}: give {wanted}")
