"""What keeps the slowest frames fast: cores, scheduling, memory and the garbage collector, where the system allows it."""

from __future__ import annotations

import ctypes
import gc
import os
import re
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

from lineside.runtime.errors import BadOption

__all__ = ["Machine", "apply_machine", "settle_garbage"]

_CURRENT, _FUTURE = 1, 2
"""Flags of mlockall: pages that are there, and those to come."""


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a station uses its machine; nothing is changed that is not named.

    Attributes:
        cores: Cores that it runs on, such as ``0-3`` or ``2,3``.
        priority: Realtime priority (SCHED_FIFO, 1 to 99) of its threads; needs the right to it (CAP_SYS_NICE, or rtprio in
            the system's limits).
        memory: ``lock`` keeps all pages in memory (mlockall), so that none has to come back from the disk.
        garbage: ``freeze`` lets the collector leave alone what lives at the start, so that its pauses stay short.
    """

    cores: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$")] | None = None
    priority: Annotated[int, msgspec.Meta(ge=1, le=99)] | None = None
    memory: Literal["lock"] | None = None
    garbage: Literal["freeze"] | None = None


def apply_machine(machine: Machine, say: Callable[[str], None]) -> list[str]:
    """Sets up this process; threads that are started later have the same.

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
        _try(done, say, f"runs on cores {machine.cores}", lambda: os.sched_setaffinity(0, cores))
    if machine.priority is not None:
        rank = os.sched_param(machine.priority)
        _try(
            done,
            say,
            f"runs with realtime priority {machine.priority}",
            lambda: os.sched_setscheduler(0, os.SCHED_FIFO, rank),
        )
    if machine.memory is not None:
        _try(done, say, "keeps its memory locked", _lock_memory)
    return done


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
    cores: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        cores.update(range(int(first), int(last or first) + 1))
    count = os.cpu_count() or 1
    if not cores or max(cores) >= count:
        raise BadOption(f"cores={text}: this machine has the cores 0 to {count - 1}")
    return cores


def _try(done: list[str], say: Callable[[str], None], what: str, act: Callable[[], object]) -> None:
    """Does something that the system may refuse."""
    try:
        act()
    except OSError as error:
        say(f"the system does not allow that this station {what} ({error.strerror}); it goes on without")
    else:
        done.append(what)


def _lock_memory() -> None:
    """Locks all pages of the process.

    Raises:
        OSError: The system refuses.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.mlockall(_CURRENT | _FUTURE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
