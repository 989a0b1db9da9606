"""The host device: a GPU played by the processor, with the checks of one.

Memory is numpy's, kernels are the g++ build of the CUDA sources, each stream is a thread that works asynchronously, and
a graph is the list of what was recorded, replayed. It refuses what CUDA refuses: ranges outside of memory, memory that
was freed, launches beyond the limits, allocating or waiting while a graph is captured. It is for tests and for trying
things without a GPU; it is slower than the engine ``onnxruntime``.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lineside.runtime.cuda.device import Address, Counters, Event, Function, Stream, Where
from lineside.runtime.cuda.host_graph import HostGraph, record_works
from lineside.runtime.cuda.host_memory import HostBuffer, HostMemory
from lineside.runtime.cuda.host_stream import Fault, HostEvent, HostStream, Work
from lineside.runtime.cuda.host_work import HostWork
from lineside.runtime.errors import EngineFailed

if TYPE_CHECKING:
    from lineside.runtime.kernels.host import HostFunction
    from lineside.runtime.kernels.kernel import Kernel, Launch

__all__ = ["HostDevice"]

_ABANDONED: list[object] = []
"""Memory of devices whose threads did not end: somebody may still write there."""


class _Loaded:
    """A kernel that is built.

    Attributes:
        kernel: Its declaration.
    """

    def __init__(self, kernel: Kernel, function: HostFunction) -> None:
        self.kernel = kernel
        self.function = function


class HostDevice:
    """A device on the processor; see the module.

    Args:
        memory: Bytes that it has; None: as many as there are.
        integrated: Whether it plays a device that shares one memory with the processor.
        inspect: Called with ``allocate``, ``launch NAME``, ``copy``, ``fill`` and ``graph`` in the caller's thread, and
            with ``run NAME``, ``run copy``, … in the stream's, before each of them. What it raises, happens to the device:
            that is how faults are tried.

    Attributes:
        name: What it is, for people.
        integrated: As given.
        arch: ``host``.
        counters: What was asked of it.
        before: None, until somebody sets it; as `Device.before`.
    """

    close_patience = 5.0
    """Seconds that `close` waits for what a stream is doing."""

    def __init__(
        self, memory: int | None = None, integrated: bool = False, inspect: Callable[[str], None] | None = None
    ) -> None:
        self.name = "host device (the processor in the place of a GPU)"
        self.integrated = integrated
        self.arch = "host"
        self.counters = Counters()
        self.before: Stream | None = None
        self._memory = HostMemory(memory)
        self._inspect = inspect or _nothing
        self._work = HostWork(self._memory, inspect)
        self._fault = Fault()
        self._loaded: dict[Kernel, _Loaded] = {}
        self._lock = threading.Lock()
        self._streams: weakref.WeakSet[HostStream] = weakref.WeakSet()
        self._capturing = threading.local()
        self._closed = False

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Nothing to do: every thread works with it."""
        yield

    def allocate(self, nbytes: int, where: Where = "device") -> HostBuffer:
        """Allocates memory; as `Device.allocate`."""
        self._ready("memory cannot be allocated")
        self._inspect("allocate")
        buffer = self._memory.allocate(nbytes, where)
        self.counters.add(allocations=1)
        return buffer

    def stream(self) -> HostStream:
        """Makes a stream and its thread."""
        self._ready("a stream cannot be made")
        stream = HostStream(self._fault)
        self._streams.add(stream)
        return stream

    def adopt(self, handle: int) -> HostStream:
        """The stream of this device that has a handle; the default streams, 1 and 2, are always done.

        Raises:
            EngineFailed: There is none.
        """
        for stream in self._streams:
            if stream.handle == handle:
                return stream
        if handle in (1, 2):
            return self.stream()
        raise EngineFailed(f"the stream {handle:#x} is none of this device: give one that is alive")

    def reaches(self, address: int, nbytes: int) -> bool:
        """Whether a range lies in a living buffer; as `Device.reaches`."""
        return self._memory.find(address, nbytes) is not None

    def load(self, kernel: Kernel) -> Function:
        """Builds a kernel with g++; as `Device.load`."""
        with self._lock:
            found = self._loaded.get(kernel)
        if found is None:
            self._ready("a kernel cannot be loaded")
            from lineside.runtime.kernels.host import host_function

            found = _Loaded(kernel, host_function(kernel))
            with self._lock:
                found = self._loaded.setdefault(kernel, found)
        return found

    def reads(self, kernel: Kernel) -> bool:
        """Always: there is neither PTX nor a driver."""
        return True

    def launch(self, stream: Stream, launch: Launch) -> None:
        """Enqueues a kernel; as `Device.launch`."""
        self._alive()
        self._inspect(f"launch {launch.kernel.name}")
        self.load(launch.kernel)
        work = self._work.launch(self._loaded[launch.kernel].function, launch)
        if self._put(stream, work):
            self.counters.add(launches=1)

    def copy(self, stream: Stream, target: Address, source: Address, nbytes: int) -> None:
        """Enqueues a copy; as `Device.copy`."""
        self._alive()
        self._inspect("copy")
        work = self._work.copy(target, source, nbytes)
        if self._put(stream, work):
            self.counters.add(bytes_to_host=work.to_host, bytes_to_device=work.to_device)

    def fill(self, stream: Stream, target: Address, value: int, nbytes: int) -> None:
        """Enqueues the setting of bytes to a value; as `Device.fill`."""
        self._alive()
        self._inspect("fill")
        self._put(stream, self._work.fill(target, value, nbytes))

    def call(self, stream: Stream, label: str, function: Callable[[], None]) -> None:
        """Enqueues a function of the host, which an engine on this device is made of.

        Args:
            stream: Where.
            label: What it is, for people.
            function: What it raises as `EngineFailed` shows at the next `synchronize` and the device works on; anything
                else loses the device.
        """
        self._alive()
        self._put(stream, self._work.call(label, function))

    def capture(self, stream: Stream, record: Callable[[], None]) -> HostGraph:
        """Makes a graph; as `Device.capture`."""
        self._ready("a graph cannot be captured")
        self._capturing.broken, self._capturing.on = None, True
        try:
            works = record_works(_mine(stream), record)
        finally:
            self._capturing.on = False
        if self._capturing.broken is not None:  # whoever swallowed the error gets no graph all the same
            raise EngineFailed(f"the capture of a graph is void: {self._capturing.broken}")
        return HostGraph(works, self._replay, self._fault)

    def synchronize(self, stream: Stream) -> None:
        """Waits for a stream; as `Device.synchronize`."""
        self._ready("nothing can be waited for")
        self.counters.add(synchronisations=1)
        _mine(stream).drain()

    def record(self, stream: Stream) -> HostEvent:
        """Puts a mark into a stream; as `Device.record`."""
        self._ready("a mark cannot be made")
        event = HostEvent()
        _mine(stream).put(Work("a mark", event.mark))
        return event

    def wait(self, stream: Stream, event: Event) -> None:
        """Lets a stream wait for a mark; as `Device.wait`."""
        self._ready("a mark cannot be waited for")
        if not isinstance(event, HostEvent):
            raise EngineFailed("a mark of another device cannot be waited for")
        mine = _mine(stream)
        mine.put(Work("a wait", lambda: mine.await_event(event)))

    def elapsed(self, start: Event, end: Event) -> float:
        """Milliseconds between two marks; as `Device.elapsed`."""
        if not isinstance(start, HostEvent) or not isinstance(end, HostEvent):
            raise EngineFailed("marks of another device cannot be compared")
        if not start.reached.is_set() or not end.reached.is_set():
            raise EngineFailed("a mark was not reached yet: synchronise its stream first")
        return (end.at - start.at) * 1000

    def check_bounds(self) -> None:
        """Looks whether anything was written beside a buffer.

        Raises:
            EngineFailed: Something was.
        """
        damaged = self._memory.damaged()
        if damaged:
            raise EngineFailed(
                f"memory beside {len(damaged)} buffers was overwritten, the first of {damaged[0].nbytes} bytes: a kernel "
                "writes outside of its buffers"
            )

    @property
    def buffers(self) -> int:
        """How many buffers are alive."""
        return len(self._memory)

    @property
    def memory_used(self) -> int:
        """Bytes that they have together."""
        return self._memory.used

    def close(self) -> None:
        """Ends the streams and frees the memory; returns although the device is lost."""
        self._closed = True
        ended = [stream.stop(self.close_patience) for stream in list(self._streams)]
        if not all(ended):
            _ABANDONED.append(self._memory)
            self._memory = HostMemory()
        self._memory.clear()
        self._loaded.clear()

    def _replay(self, stream: Stream, graph: Work) -> None:
        """Enqueues the work of a graph as one."""
        self._alive()
        self._inspect("graph")
        if self._put(stream, graph):
            self.counters.add(graph_launches=1, bytes_to_host=graph.to_host, bytes_to_device=graph.to_device)

    def _put(self, stream: Stream, work: Work) -> bool:
        """Enqueues or records; whether it was enqueued."""
        mine = _mine(stream)
        recorded = mine.recording is not None
        mine.put(work)
        return not recorded

    def _alive(self) -> None:
        if self._closed:
            raise EngineFailed("this device is closed: load the bundle again")
        self._fault.check()

    def _ready(self, what: str) -> None:
        """Refuses what may not be done within a capture."""
        self._alive()
        if getattr(self._capturing, "on", False):
            self._capturing.broken = f"{what} while a graph is captured: do it before"
            raise EngineFailed(self._capturing.broken)


def _nothing(what: str) -> None:
    """The inspection of a device that has no faults."""


def _mine(stream: Stream) -> HostStream:
    if not isinstance(stream, HostStream):
        raise EngineFailed("a stream of another device was given: make one with this device")
    return stream
