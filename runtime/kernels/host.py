"""Kernels on the processor: the CUDA source built by g++, each grid run as on a GPU.

A block has its shared memory, unset at first, and its barrier; threads that have returned count as arrived there. Blocks
run one after the other on the thread that calls, threads of a block in turns (``host_fibres.cuh``) or, to look for races,
each on a thread of its own (``host_threads.cuh``). The same bits come out as on a GPU.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from typing import Literal

from lineside.runtime.errors import EngineFailed
from lineside.runtime.kernels.host_build import build
from lineside.runtime.kernels.kernel import Kernel, Launch
from lineside.runtime.kernels.limits import check_launch

__all__ = ["Execution", "HostFunction", "host_function"]

Execution = Literal["fibres", "threads"]
"""How the threads of a block run: in turns on one thread of the processor, or each on one of its own (slow)."""

_LETTERS = {"pointer": "p", "int": "i", "float": "f"}
_FAILURES = {
    1: "there is no memory for the stacks of its threads: free some",
    2: "it wrote beyond the dynamic shared memory that it was launched with: ask for as much as it uses",
}

_functions: dict[tuple[str, Execution], HostFunction] = {}
_building = threading.Lock()


class HostFunction:
    """A kernel that is built for the processor.

    Args:
        kernel: Its declaration.
        library: The shared library that was built from it.

    Attributes:
        kernel: As given.
        shared: Bytes of static shared memory that a block of it has.

    Raises:
        EngineFailed: The declaration names other parameters than the source has.
    """

    def __init__(self, kernel: Kernel, library: ctypes.CDLL) -> None:
        self.kernel = kernel
        library.lineside_kinds.restype = ctypes.c_char_p
        found, declared = library.lineside_kinds().decode(), _kinds(kernel)
        if found != declared:
            raise EngineFailed(
                f"the kernel {kernel.name} of {kernel.source.name} takes {found!r} and is declared with {declared!r} "
                "(p pointer, i int, f float, ? none of them): declare what it takes"
            )
        library.lineside_static_shared.restype = ctypes.c_uint
        self.shared = int(library.lineside_static_shared())
        self._launch = library.lineside_launch
        self._launch.restype = ctypes.c_int
        self._sizes = ctypes.c_uint * 6
        self._values = ctypes.c_uint64 * max(1, len(declared))
        self._lock = threading.Lock()  # a block's shared memory is there once

    def __call__(self, launch: Launch) -> None:
        """Runs a grid to its end.

        Args:
            launch: Of this kernel; pointers are addresses in this process.

        Raises:
            EngineFailed: A GPU would refuse the launch, or the kernel overran its dynamic shared memory.
        """
        check_launch(launch, self.shared)
        sizes = self._sizes(*launch.grid, *launch.block)
        values = self._values(
            *(
                _bits(parameter.kind, value)
                for parameter, value in zip(self.kernel.parameters, launch.arguments, strict=True)
            )
        )
        with self._lock:
            status = self._launch(sizes, launch.shared, values)
        if status:
            raise EngineFailed(f"the kernel {self.kernel.name} failed: {_FAILURES[status]}")


def host_function(kernel: Kernel, execution: Execution = "fibres") -> HostFunction:
    """Builds a kernel, or takes it from the cache.

    Args:
        kernel: What to build.
        execution: How its threads run.

    Returns:
        The function; the same one for the same kernel.

    Raises:
        EngineUnavailable: There is no C++ compiler.
        EngineFailed: It does not compile, or not with these parameters.
    """
    key = (kernel.fingerprint(), execution)
    with _building:
        found = _functions.get(key)
        if found is None:
            found = _functions[key] = HostFunction(kernel, build(kernel, execution == "threads"))
    return found


def _kinds(kernel: Kernel) -> str:
    return "".join(_LETTERS[parameter.kind] for parameter in kernel.parameters)


def _bits(kind: str, value: int | float) -> int:
    """An argument as the low bits of 64."""
    if kind == "float":
        return int.from_bytes(struct.pack("<f", value), "little")
    return int(value) & (0xFFFFFFFF if kind == "int" else 0xFFFFFFFFFFFFFFFF)
