"""How much memory a build may take on a board where GPU and processor share one.

TensorRT tries whatever fits into the memory that it sees. On a Jetson with 8 GB that is the memory of everything else too,
and the kernel then ends some program, perhaps the build itself.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["MEMINFO", "workspace_for"]

MEMINFO = Path("/proc/meminfo")

LEAST = 256
"""MiB below which most convolutions have no fast form left."""


def workspace_for(integrated: bool, asked: int | None) -> int | None:
    """Most MiB that TensorRT may use besides weights and tensors.

    Args:
        integrated: Whether GPU and processor share one memory.
        asked: What the user wants; it is taken as it is.

    Returns:
        None for no limit: a card's own memory is TensorRT's to use. On a shared one half of what is available.
    """
    if asked is not None or not integrated:
        return asked
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    available = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if available is None else max(LEAST, int(available) // 1024 // 2)
