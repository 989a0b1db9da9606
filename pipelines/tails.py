"""What keeps the slowest frames fast: cores, scheduling, memory and the garbage collector, where the system allows it."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import re
import resource
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Literal

import msgspec

from lineside.pipelines.names import shortened
from lineside.runtime.errors import BadOption

__all__ = ["Machine", "apply_machine", "settle_garbage", "take_from_realtime"]

_CURRENT, _FUTURE = 1, 2
"""Flags of mlockall: pages that are there, and those to come."""
_IPC_LOCK = 14
"""Number of the capability that knows no limit of locked memory."""


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a station uses its machine; nothing is changed that is not named.

    Attributes:
        cores: Cores that it runs on, such as ``0-3`` or ``2,3``.
        priority: Realtime priority (SCHED_FIFO, 1 to 99) of its threads and of captures in processes of their own, not of
            encoders; needs the right to it (CAP_SYS_NICE, or rtprio in the system's limits).
        memory: ``lock`` keeps all pages in memory (mlockall), so that none has to come back from the disk.
        garbage: ``freeze`` lets the collector leave alone what lives at the start, so that its pauses stay short.
    """

    cores: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*$")] | None = None
    priority: Annotated[int, msgspec.Meta(ge=1, le=99)] | None = None
    memory: Literal["lock"] | None = None
    garbage: Literal["freeze"] | None = None


def apply_machine(machine: Machine, say: Callable[[str], None]) -> list[str]:
    """Sets up this process: the threads that it has, such as those of numerical libraries, and those that are started later.

    Args:
        machine: What is wanted.
        say: Told in a sentence what the system does not allow; the station runs without it.

    Returns:
        What was done, in words.

    Raises:
        BadOption: A core that this machine does not have.
    """
    done: list[str] = []
    if machine.cores is not None:
        cores = _cores(machine.cores)
        _try(
            done,
            say,
            f"runs on cores {machine.cores}",
            lambda: _each_thread(lambda thread: os.sched_setaffinity(thread, cores)),
        )
    if machine.priority is not None:
        rank = os.sched_param(machine.priority)
        _try(
            done,
            say,
            f"runs with realtime priority {machine.priority}",
            lambda: _each_thread(lambda thread: os.sched_setscheduler(thread, os.SCHED_FIFO, rank)),
        )
    if machine.memory is not None:
        _try(done, say, "keeps its memory locked", _lock_memory)
    return done


def take_from_realtime(process: int) -> None:
    """Gives a program that was started from here the usual scheduling: what can wait must not hold up the inspection.

    Args:
        process: Its number. Threads that it begins later have the same.
    """
    with suppress(OSError):
        if os.sched_getscheduler(process) != os.SCHED_OTHER:
            os.sched_setscheduler(process, os.SCHED_OTHER, os.sched_param(0))


def settle_garbage(machine: Machine) -> None:
    """Once everything is there: collects garbage, and lets the collector leave alone what is left.

    Args:
        machine: What is wanted.
    """
    if machine.garbage == "freeze":
        gc.collect()
        gc.freeze()


def _cores(text: str) -> set[int]:
    """Numbers of cores.

    Raises:
        BadOption: There is no such core.
    """
    count = os.cpu_count() or 1
    ranges = [(int(first), int(last or first)) for first, last in re.findall(r"(\d+)(?:-(\d+))?", text)]
    if not ranges or any(not first <= last < count for first, last in ranges):  # before a range of billions is made
        raise BadOption(f"cores={shortened(text, 40)}: this machine has the cores 0 to {count - 1}")
    return {core for first, last in ranges for core in range(first, last + 1)}


def _capable(number: int) -> bool:
    """Whether this process has a capability, by its number."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = re.search(r"^CapEff:\s*([0-9a-f]+)$", file.read(), re.MULTILINE)
    except OSError:
        return False
    return found is not None and bool(int(found[1], 16) >> number & 1)


def _try(done: list[str], say: Callable[[str], None], what: str, act: Callable[[], object]) -> None:
    """Does something that the system may refuse."""
    try:
        act()
    except OSError as error:
        say(f"the system does not allow that this station {what} ({error.strerror}); it goes on without")
    else:
        done.append(what)


def _each_thread(act: Callable[[int], object]) -> None:
    """Does something with every thread of this process.

    Args:
        act: Given the number of a thread, 0 for the calling one, which is first.

    Raises:
        OSError: The system refuses.
    """
    act(0)
    for thread in map(int, os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else ()):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            act(thread)


def _lock_memory() -> None:
    """Locks all pages of the process.

    Raises:
        OSError: The system refuses, or would refuse more memory later, at a limit that the station may reach in months.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and not _capable(_IPC_LOCK):
        raise OSError(
            errno.EPERM, f"no more than {limit / 1e6:.3g} MB may be locked; set that limit (memlock) to unlimited"
        )
    library = ctypes.CDLL(None, use_errno=True)
    if library.mlockall(_CURRENT | _FUTURE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
