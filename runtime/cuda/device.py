"""The seam between the frame path and whatever executes it: a GPU, or the processor in its place.

`lineside.runtime.cuda.host.HostDevice` and `lineside.runtime.cuda.hardware.HardwareDevice` are two of a kind: what runs
on the one with all its checks runs on the other. Addresses are plain integers, as kernels take them.

Everything that is enqueued on one stream runs in order; streams run beside each other. An error that a device meets
while it executes shows at the next `Device.synchronize` and stays until the device is closed and opened again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lineside.runtime.kernels.kernel import Kernel, Launch

__all__ = ["Address", "Buffer", "Counters", "Device", "Event", "Function", "Graph", "Stream", "Where"]

Where = Literal["device", "pinned", "mapped"]
"""``device``: the device's own memory. ``pinned``: host memory that copies are made from and to. ``mapped``: host memory
that kernels read and write where it lies, for devices that share one memory with the processor."""


_COUNTING = threading.Lock()


@dataclass
class Counters:
    """What was asked of a device since the last `reset`.

    Attributes:
        launches: Kernels launched one by one, outside of any graph.
        graph_launches: Graphs launched.
        synchronisations: Times that the host waited for a stream.
        allocations: Buffers allocated, of any kind.
        bytes_to_host: Bytes copied from device memory into host memory, those of graphs included.
        bytes_to_device: Bytes copied from host memory into device memory, those of graphs included.
    """

    launches: int = 0
    graph_launches: int = 0
    synchronisations: int = 0
    allocations: int = 0
    bytes_to_host: int = 0
    bytes_to_device: int = 0

    def reset(self) -> None:
        """Sets every counter to 0."""
        with _COUNTING:
            for field in fields(self):
                setattr(self, field.name, 0)

    def add(self, **more: int) -> None:
        """Adds to some counters, from any thread."""
        with _COUNTING:
            for name, count in more.items():
                setattr(self, name, getattr(self, name) + count)


class Buffer(Protocol):
    """A block of memory.

    Attributes:
        nbytes: Its size.
        address: Where a kernel finds it; aligned to 256 bytes.
        where: What kind of memory it is.
    """

    nbytes: int
    address: int
    where: Where

    def host(self) -> npt.NDArray[np.uint8]:
        """The memory as the host sees it, ``(nbytes,)`` uint8; not to be touched after `free`.

        Raises:
            EngineFailed: It is the device's own memory, or was freed.
        """

    def free(self) -> None:
        """Gives the memory back; a second call does nothing. Nothing may still be running on it."""


Address = int | Buffer
"""An address as a kernel takes it, or the buffer that begins there."""


class Function(Protocol):
    """A kernel that is loaded into a device.

    Attributes:
        kernel: Its declaration.
    """

    kernel: Kernel


class Stream(Protocol):
    """A queue of work.

    Attributes:
        handle: What libraries take for it: a ``cudaStream_t`` as an integer.
    """

    handle: int


class Event(Protocol):
    """A mark in a stream, made by `Device.record`.

    Attributes:
        handle: What libraries take for it: a ``cudaEvent_t`` as an integer.
    """

    handle: int


class Graph(Protocol):
    """Work that was captured once and is launched as one."""

    def launch(self, stream: Stream) -> None:
        """Enqueues all of it.

        Raises:
            EngineFailed: The device refuses; see `Device.synchronize`.
        """

    def free(self) -> None:
        """Lets go of it; a second call does nothing."""


class Device(Protocol):
    """What the frame path needs of a device. Any number of threads may use one; a stream belongs to one at a time.

    Every method raises `EngineFailed`, or its subclass `DeviceLost` where the device will not work again before it is
    opened anew; the message says which call failed, why, and what to do.

    Attributes:
        name: What it is, for people.
        integrated: Whether it shares one memory with the processor, so that ``mapped`` memory needs no copy.
        arch: What kernels are compiled for, such as ``compute_87``; ``host`` on the processor.
        counters: What was asked of it.
        before: A stream of the caller's on which pictures are made: one that lies on the device already is read after
            everything that is on that stream then. None: who makes a picture says so himself.
    """

    name: str
    integrated: bool
    arch: str
    counters: Counters
    before: Stream | None

    def current(self) -> AbstractContextManager[None]:
        """While it is open, the device is the one that the calling thread works with: everything below needs it."""

    def allocate(self, nbytes: int, where: Where = "device") -> Buffer:
        """Allocates memory; its content is anything. Not within `capture`.

        Args:
            nbytes: From 1.
            where: What kind.
        """

    def stream(self) -> Stream:
        """Makes a stream; `close` ends it."""

    def adopt(self, handle: int) -> Stream:
        """A stream that somebody else made and keeps, to be waited for.

        Args:
            handle: Its ``cudaStream_t`` as an integer: 1 is the legacy default stream, 2 the one of the thread.
        """

    def reaches(self, address: int, nbytes: int) -> bool:
        """Whether kernels of this device can read memory that somebody else may have allocated.

        Args:
            address: Its first byte, as a kernel would take it.
            nbytes: How many bytes, from 1.
        """

    def load(self, kernel: Kernel) -> Function:
        """Builds a kernel for this device and keeps it; not within `capture`, so load all of them before.

        Raises:
            EngineUnavailable: There is no compiler.
        """

    def reads(self, kernel: Kernel) -> bool:
        """Whether the driver finishes a kernel's PTX; `load` may have other ways. Not within `capture`.

        Raises:
            EngineUnavailable: There is no compiler.
        """

    def launch(self, stream: Stream, launch: Launch) -> None:
        """Enqueues a kernel; it is loaded where it is not yet.

        Args:
            stream: Where.
            launch: The kernel, its grid and its arguments, with device addresses as integers.
        """

    def copy(self, stream: Stream, target: Address, source: Address, nbytes: int) -> None:
        """Enqueues a copy from the begin of one block of memory to the begin of another, of any kinds.

        Args:
            stream: Where.
            target: What is written; it stays alive until the copy is done.
            source: What is read; so does it.
            nbytes: How many bytes, at most those of the smaller one.
        """

    def fill(self, stream: Stream, target: Address, value: int, nbytes: int) -> None:
        """Enqueues the setting of bytes to one value.

        Args:
            stream: Where.
            target: Begin of what is written.
            value: 0 to 255.
            nbytes: How many bytes.
        """

    def capture(self, stream: Stream, record: Callable[[], None]) -> Graph:
        """Makes a graph of everything that ``record`` enqueues on ``stream``; nothing of it runs yet.

        Args:
            stream: It must have nothing to do.
            record: It may neither allocate, nor load, nor synchronise.
        """

    def synchronize(self, stream: Stream) -> None:
        """Waits until everything on a stream is done.

        Raises:
            EngineFailed: Something on it failed.
            DeviceLost: The device has stopped working: close it and load the bundle again.
        """

    def record(self, stream: Stream) -> Event:
        """Puts a mark behind everything that is on a stream."""

    def wait(self, stream: Stream, event: Event) -> None:
        """Lets what is enqueued on a stream from now on wait for a mark of another.

        Args:
            stream: The one that waits; the host does not.
            event: A mark of this device, of `record`.
        """

    def elapsed(self, start: Event, end: Event) -> float:
        """Milliseconds between two marks that were reached, neither of them made within `capture`.

        Args:
            start: The first one.
            end: The later one.

        Raises:
            EngineFailed: One of them was not reached yet.
        """

    def close(self) -> None:
        """Frees everything; a second call does nothing. It returns although the device is lost."""
