"""Memory that two processes have. It has no name, so nothing of it is left when both are gone, however they ended."""

from __future__ import annotations

import mmap
import os
import socket
import tempfile
from multiprocessing.connection import Connection

__all__ = ["fresh", "received", "sent"]


def fresh(size: int) -> tuple[int, mmap.mmap]:
    """New memory.

    Args:
        size: Its bytes.

    Returns:
        Its descriptor, to be sent and closed, and the memory, which goes with its last view.

    Raises:
        OSError: There is none.
    """
    # Not in /dev/shm, of which a container has little, and where the pieces of killed processes stay.
    descriptor = os.memfd_create("lineside") if hasattr(os, "memfd_create") else _unnamed()
    try:
        os.ftruncate(descriptor, size)
        return descriptor, mmap.mmap(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise


def _unnamed() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def sent(pipe: Connection, descriptor: int) -> None:
    """Hands a descriptor to the process at the other end, and closes it here.

    Args:
        pipe: A pipe of both directions.
        descriptor: The descriptor.

    Raises:
        OSError: Nobody is there.
    """
    try:
        with socket.socket(fileno=os.dup(pipe.fileno())) as door:
            socket.send_fds(door, [b"m"], [descriptor])
    finally:
        os.close(descriptor)


def received(pipe: Connection) -> mmap.mmap:
    """The memory whose descriptor the process at the other end has sent.

    Args:
        pipe: A pipe of both directions, in which it is next.

    Raises:
        EOFError: Nobody is there.
        OSError: It cannot be had.
    """
    with socket.socket(fileno=os.dup(pipe.fileno())) as door:
        _, descriptors, _, _ = socket.recv_fds(door, 1, 1)
    if not descriptors:
        raise EOFError
    try:
        return mmap.mmap(descriptors[0], 0)
    finally:
        os.close(descriptors[0])
