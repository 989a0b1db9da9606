"""A GPU of NVIDIA's, through cuda-bindings.

Kernels come as PTX of `lineside.runtime.kernels.nvrtc` for the device's own architecture. Streams do not wait for the
default stream. A graph is captured in thread-local mode, so that other threads may allocate meanwhile.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineside.runtime.cuda.device import Address, Counters, Event, Function, Graph, Stream, Where
from lineside.runtime.cuda.hardware_memory import HardwareBuffer, HardwareMemory
from lineside.runtime.cuda.library import open_library
from lineside.runtime.errors import DeviceLost, EngineError, EngineFailed, EngineUnavailable

if TYPE_CHECKING:
    from lineside.runtime.kernels.kernel import Kernel, Launch

__all__ = ["HardwareDevice"]

_C_TYPES: dict[str, Callable[[Any], Any]] = {"pointer": ctypes.c_void_p, "int": ctypes.c_int32, "float": ctypes.c_float}


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


@dataclass
class _Loaded:
    """A kernel in the device.

    Attributes:
        kernel: Its declaration.
    """

    kernel: Kernel
    module: Any
    function: Any


class _Graph:
    """A graph that CUDA holds.

    Args:
        device: Where it was captured.
        executable: A ``cudaGraphExec_t``.
        copied: Bytes that one launch copies to the host and to the device.
    """

    def __init__(self, device: HardwareDevice, executable: Any, copied: tuple[int, int]) -> None:
        self._device = device
        self._executable: Any = executable
        self._copied = copied

    def launch(self, stream: Stream) -> None:
        if self._executable is None:
            raise EngineFailed("this graph was freed: capture it again")
        self._device.replay(stream, self._executable, *self._copied)

    def free(self) -> None:
        executable, self._executable = self._executable, None
        if executable is not None:
            self._device.forget(executable)


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
        self._library = open_library()
        self._cuda, self._driver, self._read = self._library.runtime, self._library.driver, self._library.read
        self._index = index
        self._lock = threading.Lock()
        self._lost: str | None = None
        self._closed = False
        self._capturing = threading.local()
        self._loaded: dict[Kernel, _Loaded] = {}
        self._streams: list[int] = []
        self._spare: list[int] = []  # events that nobody holds any more
        self._events: list[int] = []  # all events
        self._recording: dict[int, list[int]] = {}
        self._executables: dict[int, Any] = {}
        self.counters = Counters()
        self.before: Stream | None = None
        self._memory = HardwareMemory(self._library)
        with self.current():
            self._index = int(self._call(self._cuda.cudaGetDevice, "cudaGetDevice"))
            self.integrated = bool(self._attribute("cudaDevAttrIntegrated"))
            major, minor = (self._attribute(f"cudaDevAttrComputeCapability{part}") for part in ("Major", "Minor"))
            gpu = self._call(self._driver.cuDeviceGet, "cuDeviceGet", self._index)
            name = self._call(self._driver.cuDeviceGetName, "cuDeviceGetName", 256, gpu)
        self.arch = f"compute_{major}{minor}"
        self.name = bytes(name).partition(b"\0")[0].decode("utf-8", "replace")

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """While it is open, the calling thread works with this GPU; as `Device.current`.

        Afterwards a context of the caller's, of another library or another GPU, is the thread's own again.
        """
        self._alive()
        with self._entered():
            yield

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        """Makes the GPU current; not refused after `close`, which needs it."""
        with self._remembering():
            before = self._read(self._driver.cuCtxGetCurrent(), "cuCtxGetCurrent")
            self._read(self._cuda.cudaSetDevice(self._index), "cudaSetDevice")
        try:
            yield
        finally:
            if int(before):
                self._driver.cuCtxSetCurrent(before)

    def allocate(self, nbytes: int, where: Where = "device") -> HardwareBuffer:
        """Allocates memory; as `Device.allocate`."""
        self._ready("memory cannot be allocated")
        with self._remembering():
            buffer = self._memory.allocate(nbytes, where)
        self._count(allocations=1)
        return buffer

    def stream(self) -> Stream:
        """Makes a stream that does not wait for the default one."""
        self._ready("a stream cannot be made")
        made = self._call(
            self._cuda.cudaStreamCreateWithFlags, "cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking
        )
        with self._lock:
            self._streams.append(int(made))
        return _Handle(int(made))

    def adopt(self, handle: int) -> Stream:
        """A stream of somebody else's; as `Device.adopt`."""
        return _Handle(handle)

    def reaches(self, address: int, nbytes: int) -> bool:
        """Whether an address is memory of this GPU, or memory that every device reaches; as `Device.reaches`."""
        cuda = self._cuda
        found = self._call(cuda.cudaPointerGetAttributes, "cudaPointerGetAttributes", address)
        kinds = cuda.cudaMemoryType
        if int(found.type) == int(kinds.cudaMemoryTypeDevice):
            return bool(found.device == self._index)
        return int(found.type) == int(kinds.cudaMemoryTypeManaged) or bool(int(found.devicePointer or 0) == address)

    def load(self, kernel: Kernel) -> Function:
        """Compiles a kernel for this GPU; as `Device.load`."""
        return self._function(kernel)

    def launch(self, stream: Stream, launch: Launch) -> None:
        """Enqueues a kernel; as `Device.launch`."""
        kernel = launch.kernel
        if len(launch.arguments) != len(kernel.parameters):
            raise EngineFailed(
                f"the kernel {kernel.name} takes {len(kernel.parameters)} arguments and was launched with "
                f"{len(launch.arguments)}"
            )
        function = self._function(kernel).function
        values = [
            _C_TYPES[parameter.kind](value)
            for parameter, value in zip(kernel.parameters, launch.arguments, strict=True)
        ]
        # Kept alive until the call is over: CUDA copies the values within it, in a capture too.
        pointers = (ctypes.c_void_p * max(1, len(values)))(*(ctypes.addressof(value) for value in values))
        self._call(
            self._driver.cuLaunchKernel,
            f"the launch of {kernel.name}",
            function, *launch.grid, *launch.block, launch.shared, stream.handle, ctypes.addressof(pointers), 0,
        )  # fmt: skip
        if stream.handle not in self._recording:
            self._count(launches=1)

    def copy(self, stream: Stream, target: Address, source: Address, nbytes: int) -> None:
        """Enqueues a copy; as `Device.copy`."""
        _room(target, nbytes, "the target of a copy")
        _room(source, nbytes, "the source of a copy")
        to, come = self._memory.on_host(target), self._memory.on_host(source)
        self._call(
            self._cuda.cudaMemcpyAsync, f"a copy of {nbytes} bytes", _address(target), _address(source), nbytes,
            self._cuda.cudaMemcpyKind.cudaMemcpyDefault, stream.handle,
        )  # fmt: skip
        to_host, to_device = (nbytes if to and not come else 0), (nbytes if come and not to else 0)
        recorded = self._recording.get(stream.handle)
        if recorded is None:
            self._count(bytes_to_host=to_host, bytes_to_device=to_device)
        else:
            recorded[0] += to_host
            recorded[1] += to_device

    def fill(self, stream: Stream, target: Address, value: int, nbytes: int) -> None:
        """Enqueues the setting of bytes to a value; as `Device.fill`."""
        _room(target, nbytes, "what is to be filled")
        self._call(
            self._cuda.cudaMemsetAsync, f"a fill of {nbytes} bytes", _address(target), value, nbytes, stream.handle
        )

    def capture(self, stream: Stream, record: Callable[[], None]) -> Graph:
        """Makes a graph; as `Device.capture`."""
        self._ready("a graph cannot be captured")
        cuda, mode = self._cuda, self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call(cuda.cudaStreamBeginCapture, "cudaStreamBeginCapture", stream.handle, mode)
        copied = self._recording[stream.handle] = [0, 0]
        self._capturing.on = True
        try:
            record()
        except BaseException:
            cuda.cudaGraphDestroy(cuda.cudaStreamEndCapture(stream.handle)[1])  # what it says does not matter any more
            raise
        finally:
            self._capturing.on = False
            del self._recording[stream.handle]
        graph = self._call(cuda.cudaStreamEndCapture, "the capture of a graph", stream.handle)
        try:
            executable = self._call(cuda.cudaGraphInstantiate, "cudaGraphInstantiate", graph, 0)
        finally:
            cuda.cudaGraphDestroy(graph)
        with self._lock:
            self._executables[id(executable)] = executable
        return _Graph(self, executable, (copied[0], copied[1]))

    def replay(self, stream: Stream, executable: Any, to_host: int, to_device: int) -> None:
        """Launches a graph; called by the graph."""
        self._call(self._cuda.cudaGraphLaunch, "the launch of a graph", executable, stream.handle)
        self._count(graph_launches=1, bytes_to_host=to_host, bytes_to_device=to_device)

    def forget(self, executable: Any) -> None:
        """Destroys a graph; called by the graph. After `close` there is nothing left to destroy."""
        with self._lock:
            known = self._executables.pop(id(executable), None)
        if known is not None:
            self._cuda.cudaGraphExecDestroy(known)

    def synchronize(self, stream: Stream) -> None:
        """Waits for a stream; as `Device.synchronize`."""
        self._ready("nothing can be waited for")
        self._count(synchronisations=1)
        self._call(self._cuda.cudaStreamSynchronize, "the work of a frame", stream.handle)

    def record(self, stream: Stream) -> Event:
        """Puts a mark into a stream; as `Device.record`."""
        self._ready("a mark cannot be made")
        cuda = self._cuda
        try:
            event = self._spare.pop()
        except IndexError:
            event = int(self._call(cuda.cudaEventCreateWithFlags, "cudaEventCreateWithFlags", cuda.cudaEventDefault))
            self._events.append(event)
        mark = _Event(event, self._spare)
        self._call(cuda.cudaEventRecord, "cudaEventRecord", event, stream.handle)
        return mark

    def wait(self, stream: Stream, event: Event) -> None:
        """Lets a stream wait for a mark; as `Device.wait`."""
        self._ready("a mark cannot be waited for")
        self._call(self._cuda.cudaStreamWaitEvent, "cudaStreamWaitEvent", stream.handle, event.handle, 0)

    def elapsed(self, start: Event, end: Event) -> float:
        """Milliseconds between two marks; as `Device.elapsed`."""
        return float(self._call(self._cuda.cudaEventElapsedTime, "cudaEventElapsedTime", start.handle, end.handle))

    def close(self) -> None:
        """Frees everything; a second call does nothing. What CUDA says to it does not matter any more."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            executables, self._executables = list(self._executables.values()), {}
        cuda = self._cuda
        with contextlib.suppress(EngineError), self._entered():
            for executable in executables:
                cuda.cudaGraphExecDestroy(executable)
            for event in self._events:
                cuda.cudaEventDestroy(event)
            for stream in self._streams:
                cuda.cudaStreamDestroy(stream)
            for loaded in self._loaded.values():
                self._driver.cuModuleUnload(loaded.module)
            self._memory.clear()
        self._loaded.clear()

    def _attribute(self, name: str) -> int:
        attribute = getattr(self._cuda.cudaDeviceAttr, name)
        return int(self._call(self._cuda.cudaDeviceGetAttribute, name, attribute, self._index))

    def _function(self, kernel: Kernel) -> _Loaded:
        """The kernel in the device, compiled and loaded once."""
        found = self._loaded.get(kernel)
        if found is not None:
            return found
        self._ready("a kernel cannot be loaded")
        from lineside.runtime.kernels.nvrtc import compile_ptx

        ptx = compile_ptx(kernel, self.arch).rstrip(b"\0") + b"\0"
        with self._lock:
            found = self._loaded.get(kernel)
            if found is None:
                module = self._module(kernel, ptx)
                name = kernel.name.encode()
                function = self._call(
                    self._driver.cuModuleGetFunction, f"finding the kernel {kernel.name}", module, name
                )
                found = self._loaded[kernel] = _Loaded(kernel, module, function)
        return found

    def _module(self, kernel: Kernel, ptx: bytes) -> Any:
        """A kernel's code in the device. A driver that is older than NVRTC may not read PTX and yet take finished code."""
        load, what = self._driver.cuModuleLoadData, f"loading the kernel {kernel.name}"
        try:
            return self._call(load, what, ptx)
        except EngineUnavailable as older:
            from lineside.runtime.kernels.nvrtc import compile_cubin

            try:
                cubin = compile_cubin(kernel, self.arch)
            except EngineError:
                raise older from None
            return self._call(load, what, cubin)

    def _call(self, function: Callable[..., Any], what: str, *arguments: Any) -> Any:
        """Calls CUDA and reads its answer; a loss is remembered."""
        self._alive()
        with self._remembering():
            return self._read(function(*arguments), what)

    def _alive(self) -> None:
        if self._closed:
            raise EngineFailed("this device is closed: load the bundle again")
        if self._lost is not None:
            raise DeviceLost(self._lost)

    @contextlib.contextmanager
    def _remembering(self) -> Iterator[None]:
        """A loss that shows within stays: everything from now on says the same sentence."""
        try:
            yield
        except DeviceLost as error:
            self._lost = self._lost or str(error)
            raise

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, count in more.items():
                setattr(self.counters, name, getattr(self.counters, name) + count)

    def _ready(self, what: str) -> None:
        """Refuses what may not be done within a capture, before CUDA makes the capture void."""
        self._alive()
        if getattr(self._capturing, "on", False):
            raise EngineFailed(f"{what} while a graph is captured: do it before")


def _address(target: Address) -> int:
    return target if isinstance(target, int) else target.address


def _room(target: Address, nbytes: int, what: str) -> None:
    """Refuses what would go beyond a buffer; an address that is a number is believed."""
    if nbytes < 0 or (not isinstance(target, int) and nbytes > target.nbytes):
        raise EngineFailed(f"{what} has no room for {nbytes} bytes: this is a mistake in the program that calls it")
