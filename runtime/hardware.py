"""What the machine offers, read from Linux itself: processor, instruction sets, cores that this process may use."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cpu", "available_cores", "cpu"]

ROOT = Path("/")


@dataclass(frozen=True)
class Cpu:
    """The processor.

    Attributes:
        model: Its name, as far as the machine tells it.
        machine: Architecture, such as ``x86_64`` or ``aarch64``.
        flags: Names of the instruction sets, in alphabetical order.
        logical: Logical processors of the machine.
        cores: Physical cores that this process may use: at least 1.
    """

    model: str
    machine: str
    flags: tuple[str, ...]
    logical: int
    cores: int


def cpu(root: Path = ROOT) -> Cpu:
    """Describes the processor.

    Args:
        root: Folder that holds ``proc`` and ``sys``.

    Returns:
        What is known about it; an unreadable entry is empty, never an error.
    """
    entries = _first_processor(root)
    machine = platform.machine()
    board = _read(root / "proc/device-tree/model").strip("\0\n ")
    model = entries.get("model name") or entries.get("Model") or entries.get("Hardware") or board or machine
    flags = (entries.get("flags") or entries.get("Features") or "").split()
    return Cpu(
        model=model,
        machine=machine,
        flags=tuple(sorted(set(flags))),
        logical=os.cpu_count() or 1,
        cores=available_cores(root),
    )


def available_cores(root: Path = ROOT, processors: set[int] | None = None) -> int:
    """Physical cores that this process may use.

    Processors outside its affinity mask do not count, hyper-threads of one core count once, and a container's CPU quota
    is an upper bound.

    Args:
        root: Folder that holds ``proc`` and ``sys``.
        processors: Logical processors of the process; its affinity mask when None.

    Returns:
        A number of at least 1.
    """
    if processors is None:
        processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_core(root, processor) for processor in processors}
    quota = _quota(root)
    return max(1, len(cores) if quota is None else min(len(cores), math.floor(quota)))


def _core(root: Path, processor: int) -> str:
    """Something that hyper-threads of one core share."""
    topology = root / f"sys/devices/system/cpu/cpu{processor}/topology"
    siblings = _read(topology / "core_cpus_list") or _read(topology / "thread_siblings_list")
    return siblings.strip() or str(processor)


def _quota(root: Path) -> float | None:
    """Processors that the control groups of this process grant, or None where nothing limits them."""
    limits = []
    for line in _read(root / "proc/self/cgroup").splitlines() or ["0::/"]:
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):  # a limit of a parent holds too
            limits.append(_limit_v1(folder) if controllers else _limit_v2(folder))
            if folder == base:
                break
    return min((limit for limit in limits if limit is not None), default=None)


def _limit_v2(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdigit() else None


def _limit_v1(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _first_processor(root: Path) -> dict[str, str]:
    """Entries of ``/proc/cpuinfo``: of its first processor, and what follows after the last one."""
    entries: dict[str, str] = {}
    for line in _read(root / "proc/cpuinfo").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            entries.setdefault(name.strip(), value.strip())
    return entries


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
