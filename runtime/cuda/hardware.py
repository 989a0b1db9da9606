"""A GPU of NVIDIA's, through cuda-bindings.

Kernels come as PTX of `lineside.runtime.kernels.nvrtc` for the device's own architecture. Streams do not wait for the
default stream.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lineside.runtime.cuda.device import Address, Counters, Event, Function, Graph, Stream, Where
from lineside.runtime.cuda.hardware_calls import Calls
from lineside.runtime.cuda.hardware_graphs import HardwareGraphs
from lineside.runtime.cuda.hardware_kernels import HardwareKernels
from lineside.runtime.cuda.hardware_memory import HardwareBuffer, HardwareMemory
from lineside.runtime.cuda.library import open_library
from lineside.runtime.errors import EngineError, EngineFailed

if TYPE_CHECKING:
    from lineside.runtime.kernels.kernel import Kernel, Launch

__all__ = ["HardwareDevice"]


@dataclass
class _Handle:
    """A stream of CUDA's.

    Attributes:
        handle: As an integer.
    """

    handle: int


class _Event:
    """A mark of CUDA's; once nobody holds it, the device uses it for another one.

    Args:
        handle: As an integer.
        spare: Where it goes then.
    """

    def __init__(self, handle: int, spare: list[int]) -> None:
        self.handle = handle
        self._spare = spare

    def __del__(self) -> None:
        self._spare.append(self.handle)


class HardwareDevice:
    """A GPU; see the module.

    Args:
        index: Which of them, from 0.

    Attributes:
        name: As the driver calls it.
        integrated: Whether it shares one memory with the processor, as on a Jetson.
        arch: Such as ``compute_87``.
        counters: What was asked of it.
        before: None here; as `Device.before`.

    Raises:
        EngineUnavailable: There is no driver, library or GPU; the message says what to do.
    """

    def __init__(self, index: int = 0) -> None:
        self._calls = calls = Calls(open_library())
        self._cuda, self._driver = calls.runtime, calls.driver
        self._index = index
        self._lock = threading.Lock()
        self._streams: list[int] = []
        self._spare: list[int] = []  # events that nobody holds any more
        self._events: list[int] = []  # all events
        self.counters = Counters()
        self.before: Stream | None = None
        self._memory = HardwareMemory(calls.library)
        self._graphs = HardwareGraphs(calls, self.counters)
        with self.current():
            self._index = int(calls(self._cuda.cudaGetDevice, "cudaGetDevice"))
            self.integrated = bool(self._attribute("cudaDevAttrIntegrated"))
            major, minor = (self._attribute(f"cudaDevAttrComputeCapability{part}") for part in ("Major", "Minor"))
            gpu = calls(self._driver.cuDeviceGet, "cuDeviceGet", self._index)
            name = calls(self._driver.cuDeviceGetName, "cuDeviceGetName", 256, gpu)
        self.arch = f"compute_{major}{minor}"
        self.name = bytes(name).partition(b"\0")[0].decode("utf-8", "replace")
        self._kernels = HardwareKernels(calls, self.arch)

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """While it is open, the calling thread works with this GPU; as `Device.current`.

        Afterwards a context of the caller's, of another library or another GPU, is the thread's own again.
        """
        self._calls.alive()
        with self._entered():
            yield

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        """Makes the GPU current; not refused after `close`, which needs it."""
        read = self._calls.library.read
        with self._calls.remembering():
            before = read(self._driver.cuCtxGetCurrent(), "cuCtxGetCurrent")
            read(self._cuda.cudaSetDevice(self._index), "cudaSetDevice")
        try:
            yield
        finally:
            if int(before):
                self._driver.cuCtxSetCurrent(before)

    def allocate(self, nbytes: int, where: Where = "device") -> HardwareBuffer:
        """Allocates memory; as `Device.allocate`."""
        self._calls.ready("memory cannot be allocated")
        with self._calls.remembering():
            buffer = self._memory.allocate(nbytes, where)
        self.counters.add(allocations=1)
        return buffer

    def stream(self) -> Stream:
        """Makes a stream that does not wait for the default one."""
        self._calls.ready("a stream cannot be made")
        made = self._calls(
            self._cuda.cudaStreamCreateWithFlags, "cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking
        )
        with self._lock:
            self._streams.append(int(made))
        return _Handle(int(made))

    def adopt(self, handle: int) -> Stream:
        """A stream of somebody else's; as `Device.adopt`."""
        return _Handle(handle)

    def reaches(self, address: int, nbytes: int) -> bool:
        """Whether an address is memory of this GPU, or memory that every device reaches; as `Device.reaches`.

        Memory of another context on the same GPU is as far away as that of another GPU.
        """
        cuda = self._cuda
        found = self._calls(cuda.cudaPointerGetAttributes, "cudaPointerGetAttributes", address)
        kinds = cuda.cudaMemoryType
        if int(found.type) == int(kinds.cudaMemoryTypeDevice):
            return bool(found.device == self._index) and self._of_this_context(address)
        return int(found.type) == int(kinds.cudaMemoryTypeManaged) or bool(int(found.devicePointer or 0) == address)

    def _of_this_context(self, address: int) -> bool:
        """Whether memory of the GPU belongs to the current context, or, as memory of a pool, to none."""
        driver = self._driver
        answer = driver.cuPointerGetAttribute(driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_CONTEXT, address)
        if answer[0] == driver.CUresult.CUDA_ERROR_INVALID_VALUE:  # the driver knows of no context for such memory
            return True
        context = self._calls(lambda: answer, "cuPointerGetAttribute")
        return int(context) in (0, int(self._calls(self._driver.cuCtxGetCurrent, "cuCtxGetCurrent")))

    def load(self, kernel: Kernel) -> Function:
        """Compiles a kernel for this GPU; as `Device.load`."""
        return self._kernels.load(kernel)

    def reads(self, kernel: Kernel) -> bool:
        """Whether the driver is new enough for NVRTC's PTX; as `Device.reads`."""
        return self._kernels.reads(kernel)

    def launch(self, stream: Stream, launch: Launch) -> None:
        """Enqueues a kernel; as `Device.launch`."""
        self._kernels.launch(stream.handle, launch)
        self._graphs.count(stream.handle, launches=1)

    def copy(self, stream: Stream, target: Address, source: Address, nbytes: int) -> None:
        """Enqueues a copy; as `Device.copy`."""
        _room(target, nbytes, "the target of a copy")
        _room(source, nbytes, "the source of a copy")
        self._calls(
            self._cuda.cudaMemcpyAsync, f"a copy of {nbytes} bytes", _address(target), _address(source), nbytes,
            self._cuda.cudaMemcpyKind.cudaMemcpyDefault, stream.handle,
        )  # fmt: skip
        to, come = self._memory.on_host(target), self._memory.on_host(source)
        if to != come:
            self._graphs.count(stream.handle, **{"bytes_to_host" if to else "bytes_to_device": nbytes})

    def fill(self, stream: Stream, target: Address, value: int, nbytes: int) -> None:
        """Enqueues the setting of bytes to a value; as `Device.fill`."""
        _room(target, nbytes, "what is to be filled")
        self._calls(
            self._cuda.cudaMemsetAsync, f"a fill of {nbytes} bytes", _address(target), value, nbytes, stream.handle
        )

    def capture(self, stream: Stream, record: Callable[[], None]) -> Graph:
        """Makes a graph; as `Device.capture`."""
        return self._graphs.capture(stream.handle, record)

    def synchronize(self, stream: Stream) -> None:
        """Waits for a stream; as `Device.synchronize`."""
        self._calls.ready("nothing can be waited for")
        self.counters.add(synchronisations=1)
        self._calls(self._cuda.cudaStreamSynchronize, "the work of a frame", stream.handle)

    def record(self, stream: Stream) -> Event:
        """Puts a mark into a stream; as `Device.record`."""
        self._calls.ready("a mark cannot be made")
        cuda = self._cuda
        try:
            event = self._spare.pop()
        except IndexError:
            event = int(self._calls(cuda.cudaEventCreateWithFlags, "cudaEventCreateWithFlags", cuda.cudaEventDefault))
            self._events.append(event)
        mark = _Event(event, self._spare)
        self._calls(cuda.cudaEventRecord, "cudaEventRecord", event, stream.handle)
        return mark

    def wait(self, stream: Stream, event: Event) -> None:
        """Lets a stream wait for a mark; as `Device.wait`."""
        self._calls.ready("a mark cannot be waited for")
        self._calls(self._cuda.cudaStreamWaitEvent, "cudaStreamWaitEvent", stream.handle, event.handle, 0)

    def elapsed(self, start: Event, end: Event) -> float:
        """Milliseconds between two marks; as `Device.elapsed`."""
        return float(self._calls(self._cuda.cudaEventElapsedTime, "cudaEventElapsedTime", start.handle, end.handle))

    def close(self) -> None:
        """Frees everything; a second call does nothing. What CUDA says to it does not matter any more."""
        with self._lock:
            if self._calls.closed:
                return
            self._calls.closed = True
        cuda = self._cuda
        with contextlib.suppress(EngineError), self._entered():
            self._graphs.clear()
            for event in self._events:
                cuda.cudaEventDestroy(event)
            for stream in self._streams:
                cuda.cudaStreamDestroy(stream)
            self._kernels.clear()
            self._memory.clear()

    def _attribute(self, name: str) -> int:
        attribute = getattr(self._cuda.cudaDeviceAttr, name)
        return int(self._calls(self._cuda.cudaDeviceGetAttribute, name, attribute, self._index))


def _address(target: Address) -> int:
    return target if isinstance(target, int) else target.address


def _room(target: Address, nbytes: int, what: str) -> None:
    """Refuses what would go beyond a buffer; an address that is a number is believed."""
    if nbytes < 0 or (not isinstance(target, int) and nbytes > target.nbytes):
        raise EngineFailed(f"{what} has no room for {nbytes} bytes: this is a mistake in the program that calls it")
