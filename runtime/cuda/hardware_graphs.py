"""Graphs of CUDA's: captured in one thread, instantiated once, launched as one.

The capture is thread-local, so that other threads may allocate meanwhile. What its own thread does beside it counts:
CUDA makes the capture void where that frees memory. Python's collector of garbage would do so at any moment, in the name
of whatever picture of another library it happens to find, so it waits until the capture is over.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lineside.runtime.cuda.device import Counters, Stream
from lineside.runtime.errors import EngineFailed

if TYPE_CHECKING:
    from lineside.runtime.cuda.hardware_calls import Calls

__all__ = ["HardwareGraph", "HardwareGraphs"]


class _NoCollection:
    """While it is entered, by any number of threads, Python's collector of garbage does not run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._before:
                gc.enable()


_NO_COLLECTION = _NoCollection()


class HardwareGraph:
    """A graph that CUDA holds; made by `HardwareGraphs`.

    Args:
        graphs: Where it was captured.
        executable: A ``cudaGraphExec_t``.
        copied: What one launch copies, by the names of `Counters`.
    """

    def __init__(self, graphs: HardwareGraphs, executable: Any, copied: dict[str, int]) -> None:
        self._graphs = graphs
        self._executable: Any = executable
        self._copied = copied

    def launch(self, stream: Stream) -> None:
        """Enqueues all of it; as `Graph.launch`."""
        if self._executable is None:
            raise EngineFailed("this graph was freed: capture it again")
        self._graphs.launch(stream.handle, self._executable, self._copied)

    def free(self) -> None:
        """Lets go of it; as `Graph.free`."""
        executable, self._executable = self._executable, None
        if executable is not None:
            self._graphs.forget(executable)


class HardwareGraphs:
    """The graphs that a GPU holds, and what is being captured.

    Args:
        calls: The way to CUDA.
        counters: What launches count; what is captured counts at each launch of its graph.
    """

    def __init__(self, calls: Calls, counters: Counters) -> None:
        self._calls = calls
        self._counters = counters
        self._lock = threading.Lock()
        self._recording: dict[int, dict[str, int]] = {}
        self._executables: dict[int, Any] = {}

    def count(self, stream: int, **more: int) -> None:
        """Counts what was enqueued on a stream: now, or with each launch of the graph that is captured there."""
        recorded = self._recording.get(stream)
        if recorded is None:
            self._counters.add(**more)
            return
        for name, count in more.items():
            recorded[name] = recorded.get(name, 0) + count

    def capture(self, stream: int, record: Callable[[], None]) -> HardwareGraph:
        """Makes a graph of what ``record`` enqueues; as `Device.capture`."""
        calls, cuda = self._calls, self._calls.runtime
        calls.ready("a graph cannot be captured")
        copied: dict[str, int] = {}
        with _NO_COLLECTION:
            graph = self._recorded(stream, record, copied)
        try:
            executable = calls(cuda.cudaGraphInstantiate, "cudaGraphInstantiate", graph, 0)
        finally:
            cuda.cudaGraphDestroy(graph)
        with self._lock:
            self._executables[id(executable)] = executable
        copied.pop("launches", None)  # a graph is launched as one
        return HardwareGraph(self, executable, copied)

    def _recorded(self, stream: int, record: Callable[[], None], copied: dict[str, int]) -> Any:
        """The ``cudaGraph_t`` of what is enqueued; ``copied`` counts it."""
        calls, cuda = self._calls, self._calls.runtime
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        calls(cuda.cudaStreamBeginCapture, "cudaStreamBeginCapture", stream, mode)
        self._recording[stream] = copied
        try:
            with calls.capturing():
                record()
        except BaseException:
            cuda.cudaGraphDestroy(cuda.cudaStreamEndCapture(stream)[1])  # what it says does not matter any more
            raise
        finally:
            del self._recording[stream]
        return calls(cuda.cudaStreamEndCapture, "the capture of a graph", stream)

    def launch(self, stream: int, executable: Any, copied: dict[str, int]) -> None:
        """Launches a graph; called by the graph."""
        self._calls(self._calls.runtime.cudaGraphLaunch, "the launch of a graph", executable, stream)
        self._counters.add(graph_launches=1, **copied)

    def forget(self, executable: Any) -> None:
        """Destroys a graph; called by the graph. After `clear` there is nothing left to destroy."""
        with self._lock:
            known = self._executables.pop(id(executable), None)
        if known is not None:
            self._calls.runtime.cudaGraphExecDestroy(known)

    def clear(self) -> None:
        """Destroys all of them; what CUDA says to it does not matter any more."""
        with self._lock:
            executables, self._executables = list(self._executables.values()), {}
        for executable in executables:
            self._calls.runtime.cudaGraphExecDestroy(executable)
