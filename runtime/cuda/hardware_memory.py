"""Memory of a GPU, and memory of the host that it can reach."""

from __future__ import annotations

import bisect
import ctypes
import threading
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lineside.runtime.cuda.device import Address, Where
from lineside.runtime.errors import EngineError, EngineFailed

if TYPE_CHECKING:
    from lineside.runtime.cuda.library import Library

__all__ = ["HardwareBuffer", "HardwareMemory"]


class HardwareBuffer:
    """A block of memory; made by `HardwareMemory`.

    Attributes:
        nbytes: Its size.
        address: Where a kernel finds it.
        where: What kind of memory it is.
    """

    def __init__(self, memory: HardwareMemory, nbytes: int, where: Where, address: int, seen: int) -> None:
        self.nbytes = nbytes
        self.where: Where = where
        self.address = address
        self.seen = seen
        self._memory = memory
        self._view: npt.NDArray[np.uint8] | None = None
        if where != "device":
            self._view = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(seen))

    def host(self) -> npt.NDArray[np.uint8]:
        """The memory as the host sees it, ``(nbytes,)`` uint8.

        Raises:
            EngineFailed: It is the device's own memory, or was freed.
        """
        if self._view is None:
            raise EngineFailed(
                "the host cannot reach this memory (it is the device's own, or was freed): copy it to pinned memory first"
            )
        return self._view

    def free(self) -> None:
        """Gives the memory back; a second call does nothing."""
        self._view = None
        self._memory.drop(self)


class HardwareMemory:
    """All buffers of a device that are alive; it knows on which side of a copy the host is.

    Args:
        library: CUDA.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._begins: list[int] = []
        self._buffers: list[HardwareBuffer] = []

    def __len__(self) -> int:
        return len(self._buffers)

    def allocate(self, nbytes: int, where: Where) -> HardwareBuffer:
        """Allocates memory.

        Raises:
            EngineFailed: There is not enough, or the size is none.
        """
        if nbytes < 1:
            raise EngineFailed(f"{nbytes} bytes cannot be allocated: a buffer has at least one")
        cuda, read = self._library.runtime, self._library.read
        what = f"the allocation of {nbytes} bytes of {where} memory"
        if where == "device":
            seen = address = int(read(cuda.cudaMalloc(nbytes), what))
        else:
            flags = cuda.cudaHostAllocPortable | (cuda.cudaHostAllocMapped if where == "mapped" else 0)
            seen = address = int(read(cuda.cudaHostAlloc(nbytes, flags), what))
            if where == "mapped":
                try:
                    address = int(read(cuda.cudaHostGetDevicePointer(seen, 0), "cudaHostGetDevicePointer"))
                except EngineError:
                    cuda.cudaFreeHost(seen)
                    raise
        buffer = HardwareBuffer(self, nbytes, where, address, seen)
        with self._lock:
            place = bisect.bisect(self._begins, address)
            self._begins.insert(place, address)
            self._buffers.insert(place, buffer)
        return buffer

    def on_host(self, target: Address) -> bool:
        """Whether an address is memory of the host; one that was not allocated here is the device's."""
        if not isinstance(target, int):
            return target.where != "device"
        with self._lock:
            place = bisect.bisect(self._begins, target) - 1
            if place < 0:
                return False
            buffer = self._buffers[place]
        return target < buffer.address + buffer.nbytes and buffer.where != "device"

    def drop(self, buffer: HardwareBuffer) -> None:
        """Frees a buffer; after a loss CUDA refuses that too, and it does not matter any more."""
        with self._lock:
            place = bisect.bisect(self._begins, buffer.address) - 1
            if place < 0 or self._buffers[place] is not buffer:
                return
            del self._begins[place], self._buffers[place]
        cuda = self._library.runtime
        (cuda.cudaFree if buffer.where == "device" else cuda.cudaFreeHost)(buffer.seen)

    def clear(self) -> None:
        """Frees all of them."""
        with self._lock:
            buffers = list(self._buffers)
        for buffer in buffers:
            buffer.free()
