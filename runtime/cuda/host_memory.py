"""Memory of the host device: numpy arrays with an address, and every check that a GPU makes of addresses."""

from __future__ import annotations

import bisect
import threading

import numpy as np
import numpy.typing as npt

from lineside.runtime.cuda.device import Address, Where
from lineside.runtime.errors import EngineFailed

__all__ = ["ALIGNMENT", "HostBuffer", "HostMemory"]

ALIGNMENT = 256
"""What CUDA's allocators keep to; kernels may count on it."""

GUARD = 0xA5
"""What lies in front of and behind each buffer, so that a write beside it can be seen."""

FRESH = 0xCD
"""What a new buffer is full of, so that nobody takes it for cleared."""


class HostBuffer:
    """A block of the host device's memory; made by `HostMemory`.

    Attributes:
        nbytes: Its size.
        address: Its begin, aligned to 256 bytes.
        where: What kind of memory it stands for.
    """

    def __init__(self, memory: HostMemory, nbytes: int, where: Where) -> None:
        self.nbytes = nbytes
        self.where: Where = where
        self._memory = memory
        self._whole = np.full(nbytes + 3 * ALIGNMENT, GUARD, np.uint8)
        base = self._whole.__array_interface__["data"][0]
        self._begin = ALIGNMENT + -base % ALIGNMENT
        self.address: int = base + self._begin
        self.inside()[:] = FRESH

    def inside(self) -> npt.NDArray[np.uint8]:
        """The memory as kernels see it: only for what runs on a stream."""
        return self._whole[self._begin : self._begin + self.nbytes]

    def host(self) -> npt.NDArray[np.uint8]:
        """The memory as the host sees it, ``(nbytes,)`` uint8.

        Raises:
            EngineFailed: It stands for a device's own memory, or was freed.
        """
        if self.where == "device":
            raise EngineFailed("the host cannot reach the device's own memory: copy it to pinned memory first")
        if not self._memory.holds(self):
            raise EngineFailed("this memory was freed: allocate it again")
        return self.inside()

    def intact(self) -> bool:
        """Whether nobody has written beside it."""
        behind = self._begin + self.nbytes
        return bool((self._whole[: self._begin] == GUARD).all() and (self._whole[behind:] == GUARD).all())

    def free(self) -> None:
        """Gives the memory back; a second call does nothing."""
        self._memory.drop(self)


class HostMemory:
    """All buffers that are alive, by address.

    Args:
        limit: Bytes that all of them may have together; None: as many as there are.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.used = 0
        self._lock = threading.Lock()
        self._begins: list[int] = []
        self._buffers: list[HostBuffer] = []

    def __len__(self) -> int:
        return len(self._buffers)

    def allocate(self, nbytes: int, where: Where) -> HostBuffer:
        """Makes a buffer, full of anything.

        Args:
            nbytes: From 1.
            where: What kind; all kinds are memory of the processor here.

        Raises:
            EngineFailed: There is not enough memory, or the size is none.
        """
        if nbytes < 1:
            raise EngineFailed(f"{nbytes} bytes cannot be allocated: a buffer has at least one")
        with self._lock:
            if self.limit is not None and self.used + nbytes > self.limit:
                raise EngineFailed(
                    f"the device is out of memory: {nbytes} bytes of {where} memory were asked for, and {self.used} of "
                    f"{self.limit} are taken; choose fewer lanes, a smaller imgsz or a smaller model"
                )
            self.used += nbytes
        try:
            buffer = HostBuffer(self, nbytes, where)
        except MemoryError:
            with self._lock:
                self.used -= nbytes
            raise
        with self._lock:
            place = bisect.bisect(self._begins, buffer.address)
            self._begins.insert(place, buffer.address)
            self._buffers.insert(place, buffer)
        return buffer

    def find(self, address: int, nbytes: int = 1) -> HostBuffer | None:
        """The living buffer that holds all of a range.

        Args:
            address: First byte of the range.
            nbytes: Its length.

        Returns:
            The buffer; None where no single one holds all of it.
        """
        with self._lock:
            place = bisect.bisect(self._begins, address) - 1
            if place < 0:
                return None
            buffer = self._buffers[place]
        return buffer if address + nbytes <= buffer.address + buffer.nbytes else None

    def range(self, target: Address, nbytes: int, what: str) -> HostBuffer:
        """The buffer that holds a range that somebody is about to use.

        Args:
            target: Begin of the range; a buffer only begins where it does itself.
            nbytes: Its length.
            what: What is to be done with it, for the message.

        Raises:
            EngineFailed: None does: it is out of range, was freed, or never was memory of this device.
        """
        address = target if isinstance(target, int) else target.address
        buffer = self.find(address, nbytes) if nbytes >= 0 else None
        if buffer is None or not (isinstance(target, int) or target is buffer):
            raise EngineFailed(
                f"{what} of {nbytes} bytes at {address:#x} was refused: no memory of this device holds all of them "
                "(out of range, or freed before); this is a mistake in the program that calls it"
            )
        return buffer

    def holds(self, buffer: HostBuffer) -> bool:
        """Whether a buffer is alive."""
        return self.find(buffer.address) is buffer

    def drop(self, buffer: HostBuffer) -> None:
        """Forgets a buffer."""
        with self._lock:
            place = bisect.bisect(self._begins, buffer.address) - 1
            if place >= 0 and self._buffers[place] is buffer:
                del self._begins[place], self._buffers[place]
                self.used -= buffer.nbytes

    def damaged(self) -> list[HostBuffer]:
        """Buffers beside which somebody has written."""
        with self._lock:
            return [buffer for buffer in self._buffers if not buffer.intact()]

    def clear(self) -> None:
        """Forgets all of them."""
        with self._lock:
            self._begins.clear()
            self._buffers.clear()
            self.used = 0
