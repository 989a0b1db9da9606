"""What PTX says of itself: its version, its target, the parameters of its kernels.

A launch passes its arguments by position and size only; one too few is read from whatever lies behind. So what the
compiler made is held against the declaration before anything is launched.
"""

from __future__ import annotations

import re

from lineside.runtime.errors import EngineFailed
from lineside.runtime.kernels.kernel import Kernel, Kind

__all__ = ["check_parameters", "entry_parameters", "ptx_target", "ptx_version"]

_KINDS: dict[str, Kind] = {"u64": "pointer", "u32": "int", "f32": "float"}
"""What the compiler calls a pointer, an int and a float; signed and plain words count as well."""
_SAME = {"s64": "u64", "b64": "u64", "s32": "u32", "b32": "u32"}


def entry_parameters(ptx: bytes, name: str) -> tuple[str, ...]:
    """Types of the parameters of one kernel.

    Args:
        ptx: What NVRTC made.
        name: The kernel.

    Returns:
        PTX types without the point, such as ``u64``; an array as ``b8[16]``.

    Raises:
        EngineFailed: There is no such kernel in it.
    """
    found = re.search(rf"\.entry\s+{re.escape(name)}\s*\(([^)]*)\)".encode(), ptx)
    if found is None:
        raise EngineFailed(f'the kernel {name} is not in the PTX: its function must be extern "C" and named so')
    kinds = []
    for line in filter(None, (part.strip() for part in found.group(1).decode().split(","))):
        kind = re.search(r"\.(?!param|align|ptr|global|restrict)([a-z]+\d+)\b", line)
        size = re.search(r"\[(\d+)\]", line)
        if kind is None:
            raise EngineFailed(f"the PTX of the kernel {name} has a parameter that is not understood: {line}")
        kinds.append(kind.group(1) + (size.group(0) if size else ""))
    return tuple(kinds)


def ptx_version(ptx: bytes) -> tuple[int, int]:
    """Version of the language, such as (8, 5); a driver knows those up to its own.

    Raises:
        EngineFailed: It says none.
    """
    found = re.search(rb"^\.version\s+(\d+)\.(\d+)", ptx, re.MULTILINE)
    if found is None:
        raise EngineFailed("the PTX says no version: it is damaged; remove it from the cache")
    return int(found.group(1)), int(found.group(2))


def ptx_target(ptx: bytes) -> str:
    """What it was compiled for, such as ``sm_87``.

    Raises:
        EngineFailed: It says nothing.
    """
    found = re.search(rb"^\.target\s+(\w+)", ptx, re.MULTILINE)
    if found is None:
        raise EngineFailed("the PTX says no target: it is damaged; remove it from the cache")
    return found.group(1).decode()


def check_parameters(kernel: Kernel, ptx: bytes) -> None:
    """Holds the parameters of a kernel against its declaration.

    Args:
        kernel: What is declared.
        ptx: What was compiled from its source.

    Raises:
        EngineFailed: Their number or their types differ.
    """
    found = entry_parameters(ptx, kernel.name)
    kinds = [_KINDS.get(_SAME.get(kind, kind)) for kind in found]
    declared = [parameter.kind for parameter in kernel.parameters]
    if kinds != declared:
        raise EngineFailed(
            f"the kernel {kernel.name} of {kernel.source.name} takes ({', '.join(found)}) and is declared with "
            f"({', '.join(declared)}): declare what it takes"
        )
