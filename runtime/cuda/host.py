"""The host device: a GPU played by the processor, with the checks of one.

Memory is numpy's, kernels are the g++ build of the CUDA sources, each stream is a thread that works asynchronously, and
a graph is the list of what was recorded, replayed. It refuses what CUDA refuses: ranges outside of memory, memory that
was freed, launches beyond the limits, allocating or waiting while a graph is captured. It is for tests and for trying
things without a GPU; it is slower than the engine ``onnxruntime``.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from lineside.runtime.cuda.device import Address, Counters, Event, Function, Stream, Where
from lineside.runtime.cuda.host_memory import HostBuffer, HostMemory
from lineside.runtime.cuda.host_stream import Fault, HostEvent, HostStream, Work
from lineside.runtime.errors import EngineFailed
from lineside.runtime.kernels.limits import check_launch

if TYPE_CHECKING:
    from lineside.runtime.kernels.host import HostFunction
    from lineside.runtime.kernels.kernel import Kernel, Launch

__all__ = ["HostDevice", "HostGraph"]

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


class HostGraph:
    """A list of work, done by a stream as one.

    Args:
        device: Where it was captured.
        works: What was recorded.
    """

    def __init__(self, device: HostDevice, works: Sequence[Work]) -> None:
        self._device = weakref.ref(device)
        self._works: tuple[Work, ...] | None = tuple(works)
        self._to_host = sum(work.to_host for work in works)
        self._to_device = sum(work.to_device for work in works)

    def __len__(self) -> int:
        return len(self._works or ())

    def launch(self, stream: Stream) -> None:
        """Enqueues all of it.

        Raises:
            EngineFailed: It was freed, or the device is closed or lost.
        """
        device, works = self._device(), self._works
        if works is None or device is None:
            raise EngineFailed("this graph was freed: capture it again")
        device.replay(stream, works, self._to_host, self._to_device)

    def free(self) -> None:
        """Lets go of it."""
        self._works = None


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
        self._count(allocations=1)
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

    def launch(self, stream: Stream, launch: Launch) -> None:
        """Enqueues a kernel; as `Device.launch`."""
        name = launch.kernel.name
        self._alive()
        self._inspect(f"launch {name}")
        self.load(launch.kernel)
        function = self._loaded[launch.kernel].function
        check_launch(launch, function.shared)
        pointers = [
            int(value)
            for parameter, value in zip(launch.kernel.parameters, launch.arguments, strict=True)
            if parameter.kind == "pointer" and value
        ]

        def run() -> None:
            for pointer in pointers:
                if self._memory.find(pointer) is None:
                    raise RuntimeError(f"an illegal address, {pointer:#x}")
            try:
                function(launch)
            except EngineFailed as error:  # it was not refused but broke while it ran
                raise RuntimeError(str(error)) from error

        if self._put(stream, Work(name, self._watched(f"run {name}", run))):
            self._count(launches=1)

    def copy(self, stream: Stream, target: Address, source: Address, nbytes: int) -> None:
        """Enqueues a copy; as `Device.copy`."""
        self._alive()
        self._inspect("copy")
        to, come = self._memory.range(target, nbytes, "a copy"), self._memory.range(source, nbytes, "a copy")
        into, out = _address(target), _address(source)

        def run() -> None:
            if self._memory.find(into, nbytes) is not to or self._memory.find(out, nbytes) is not come:
                raise RuntimeError("an illegal address: memory of a copy was freed meanwhile")
            ctypes.memmove(into, out, nbytes)

        work = Work(
            "a copy",
            self._watched("run copy", run),
            to_host=nbytes if come.where == "device" and to.where != "device" else 0,
            to_device=nbytes if come.where != "device" and to.where == "device" else 0,
        )
        if self._put(stream, work):
            self._count(bytes_to_host=work.to_host, bytes_to_device=work.to_device)

    def fill(self, stream: Stream, target: Address, value: int, nbytes: int) -> None:
        """Enqueues the setting of bytes to a value; as `Device.fill`."""
        self._alive()
        self._inspect("fill")
        held, into = self._memory.range(target, nbytes, "a fill"), _address(target)

        def run() -> None:
            if self._memory.find(into, nbytes) is not held:
                raise RuntimeError("an illegal address: memory that was to be filled was freed meanwhile")
            ctypes.memset(into, value, nbytes)

        self._put(stream, Work("a fill", self._watched("run fill", run)))

    def call(self, stream: Stream, label: str, function: Callable[[], None]) -> None:
        """Enqueues a function of the host, which an engine on this device is made of.

        Args:
            stream: Where.
            label: What it is, for people.
            function: What it raises as `EngineFailed` shows at the next `synchronize` and the device works on; anything
                else loses the device.
        """
        self._alive()
        self._put(stream, Work(label, self._watched(f"run {label}", function)))

    def capture(self, stream: Stream, record: Callable[[], None]) -> HostGraph:
        """Makes a graph; as `Device.capture`."""
        self._ready("a graph cannot be captured")
        mine = _mine(stream)
        if not mine.idle:
            raise EngineFailed("a graph cannot be captured on a stream that has work to do: synchronise it first")
        works: list[Work] = []
        mine.recording, self._capturing.broken = works, None
        self._capturing.on = True
        try:
            record()
        finally:
            mine.recording, self._capturing.on = None, False
        if self._capturing.broken is not None:  # whoever swallowed the error gets no graph all the same
            raise EngineFailed(f"the capture of a graph is void: {self._capturing.broken}")
        return HostGraph(self, works)

    def replay(self, stream: Stream, works: Sequence[Work], to_host: int, to_device: int) -> None:
        """Enqueues the work of a graph as one; called by `HostGraph.launch`."""
        self._alive()
        self._inspect("graph")

        def run() -> None:
            for work in works:
                if not self._fault.lost:
                    self._do(work)

        if self._put(stream, Work("a graph", run, to_host, to_device)):
            self._count(graph_launches=1, bytes_to_host=to_host, bytes_to_device=to_device)

    def synchronize(self, stream: Stream) -> None:
        """Waits for a stream; as `Device.synchronize`."""
        self._ready("nothing can be waited for")
        self._count(synchronisations=1)
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

    def _do(self, work: Work) -> None:
        """Does a part of a graph; a loss names that part."""
        try:
            work.run()
        except EngineFailed:
            raise
        except BaseException as error:
            self._fault.lose(work.label, error)

    def _watched(self, label: str, run: Callable[[], None]) -> Callable[[], None]:
        if self._inspect is _nothing:
            return run

        def watched() -> None:
            self._inspect(label)
            run()

        return watched

    def _put(self, stream: Stream, work: Work) -> bool:
        """Enqueues or records; whether it was enqueued."""
        mine = _mine(stream)
        recorded = mine.recording is not None
        mine.put(work)
        return not recorded

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, count in more.items():
                setattr(self.counters, name, getattr(self.counters, name) + count)

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


def _address(target: Address) -> int:
    return target if isinstance(target, int) else target.address
