"""A double of cuda-bindings: it notes what is called with what, gives out handles, and fails where it is told to.

It stands for the real modules where there is no GPU; that they have everything that is called here is checked with the
real wheels elsewhere. What a GPU does with the calls is not in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import itertools
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

__all__ = ["CudaDouble"]


class cudaError_t(enum.IntEnum):  # CUDA's names
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700
    cudaErrorLaunchFailure = 719
    cudaErrorStreamCaptureInvalidated = 901
    cudaErrorUnknown = 999


class CUresult(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222
    CUDA_ERROR_NOT_FOUND = 500
    CUDA_ERROR_LAUNCH_FAILED = 719
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803
    CUDA_ERROR_UNKNOWN = 999


class _Pointer(int):
    """A handle of CUDA's: it becomes an integer."""


class CudaDouble:
    """Both modules, put where `import` finds them.

    Args:
        patch: Puts them there for one test.
        gpus: How many GPUs there are.
        integrated: Whether they share one memory with the processor.
        compute: Their compute capability.
        real: The real runtime and driver modules: every call goes to them too, on a machine without a driver, so that they
            see the arguments; what they answer is passed over, unless they do not know the function or its arguments.

    Attributes:
        calls: Name and arguments of every call.
        failing: What to answer, by name of the function, an error for all further calls.
        kernel_arguments: What each launch of a kernel was given, as bytes.
        sizes: Bytes of each of its arguments.
        memory_type: What any address is: 1 the host's, 2 a device's, 3 managed.
        memory_device: Which device's.
        memory_context: In which it was allocated; 0: in none.
        context: Current in the calling thread; 0: none.
        own: The GPU's own, current from ``cudaSetDevice`` on.
        cuda: What the driver knows.
    """

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        gpus: int = 1,
        integrated: bool = False,
        compute: tuple[int, int] = (8, 7),
        real: tuple[Any, Any] | None = None,
    ) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.failing: dict[str, Any] = {}
        self.kernel_arguments: list[list[bytes]] = []
        self.sizes: list[int] = []
        self.memory_type, self.memory_device = 2, 0
        self.context, self.own, self.memory_context = _Pointer(0), _Pointer(0xC0DA), _Pointer(0xC0DA)
        self.cuda = 12040
        self._blocks: dict[int, Any] = {}
        self._handles = itertools.count(0x7000_0000, 0x1000)
        attributes = {"Integrated": int(integrated), "Major": compute[0], "Minor": compute[1]}
        ok, fine = cudaError_t.cudaSuccess, CUresult.CUDA_SUCCESS
        runtime, driver = ModuleType("cuda.bindings.runtime"), ModuleType("cuda.bindings.driver")
        kinds = {name: name for name in ("Integrated", "ComputeCapabilityMajor", "ComputeCapabilityMinor")}
        constants = {
            "cudaDeviceAttr": SimpleNamespace(**{f"cudaDevAttr{name}": name for name in kinds}),
            "cudaMemcpyKind": SimpleNamespace(cudaMemcpyDefault=4),
            "cudaMemoryType": SimpleNamespace(cudaMemoryTypeHost=1, cudaMemoryTypeDevice=2, cudaMemoryTypeManaged=3),
            "cudaStreamCaptureMode": SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread"),
            "cudaHostAllocPortable": 1,
            "cudaHostAllocMapped": 2,
            "cudaStreamNonBlocking": 1,
            "cudaEventDefault": 0,
        }
        if real is not None:
            constants = {name: getattr(real[0], name) for name in constants}
        vars(runtime).update(constants)
        answers: dict[str, Callable[..., tuple[Any, ...]]] = {
            "cudaGetDeviceCount": lambda: (ok, gpus),
            "cudaDriverGetVersion": lambda: (ok, self.cuda),
            "cudaSetDevice": lambda index: self._enter(self.own, ok),
            "cudaGetDevice": lambda: (ok, 0),
            "cudaDeviceGetAttribute": lambda name, index: (
                ok,
                next(
                    value
                    for end, value in attributes.items()
                    if str(name).endswith(end) or getattr(name, "name", "").endswith(end)
                ),
            ),
            "cudaMalloc": lambda size: (ok, self._handle()),
            "cudaFree": lambda address: (ok,),
            "cudaHostAlloc": lambda size, flags: (ok, self._block(size)),
            "cudaFreeHost": lambda address: (ok,),
            "cudaHostGetDevicePointer": lambda address, flags: (ok, _Pointer(address + 0x100_0000_0000)),
            "cudaMemcpyAsync": lambda *given: (ok,),
            "cudaMemsetAsync": lambda *given: (ok,),
            "cudaStreamCreateWithFlags": lambda flags: (ok, self._handle()),
            "cudaStreamDestroy": lambda stream: (ok,),
            "cudaStreamSynchronize": lambda stream: (ok,),
            "cudaStreamBeginCapture": lambda stream, mode: (ok,),
            "cudaStreamEndCapture": lambda stream: (ok, self._handle()),
            "cudaGraphInstantiate": lambda graph, flags: (ok, self._handle()),
            "cudaGraphLaunch": lambda graph, stream: (ok,),
            "cudaGraphExecDestroy": lambda graph: (ok,),
            "cudaGraphDestroy": lambda graph: (ok,),
            "cudaEventCreateWithFlags": lambda flags: (ok, self._handle()),
            "cudaEventRecord": lambda event, stream: (ok,),
            "cudaStreamWaitEvent": lambda stream, event, flags: (ok,),
            "cudaEventElapsedTime": lambda start, end: (ok, 1.5),
            "cudaEventDestroy": lambda event: (ok,),
            "cudaPointerGetAttributes": self._pointer,
            "cudaGetErrorString": lambda error: (ok, b"CUDA's words"),
        }
        for name, answer in answers.items():
            setattr(runtime, name, self._noted(name, answer, real and getattr(real[0], name)))
        driver.CUresult = CUresult  # type: ignore[attr-defined]
        kinds_of_pointers = SimpleNamespace(CU_POINTER_ATTRIBUTE_CONTEXT=1)
        driver.CUpointer_attribute = real[1].CUpointer_attribute if real else kinds_of_pointers  # type: ignore[attr-defined]
        answers = {
            "cuInit": lambda flags: (fine,),
            "cuDeviceGet": lambda index: (fine, index),
            "cuDeviceGetName": lambda length, gpu: (fine, b"Orin (double)".ljust(length, b"\0")),
            "cuCtxGetCurrent": lambda: (fine, self.context),
            "cuCtxSetCurrent": lambda context: self._enter(context, fine),
            "cuPointerGetAttribute": lambda kind, address: (fine, self.memory_context),
            "cuModuleLoadData": lambda image: (fine, self._handle()),
            "cuModuleGetFunction": lambda module, name: (fine, self._handle()),
            "cuModuleUnload": lambda module: (fine,),
            "cuLaunchKernel": self._launch,
            "cuGetErrorString": lambda error: (fine, b"CUDA's words"),
        }
        for name, answer in answers.items():
            setattr(driver, name, self._noted(name, answer, real and getattr(real[1], name)))
        bindings = ModuleType("cuda.bindings")
        bindings.runtime, bindings.driver = runtime, driver  # type: ignore[attr-defined]
        patch.setitem(sys.modules, "cuda", ModuleType("cuda"))
        patch.setitem(sys.modules, "cuda.bindings", bindings)
        patch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
        patch.setitem(sys.modules, "cuda.bindings.driver", driver)

    def names(self) -> list[str]:
        """Names of the calls so far."""
        return [name for name, _ in self.calls]

    def of(self, name: str) -> list[tuple[Any, ...]]:
        """Arguments of each call of a function."""
        return [given for called, given in self.calls if called == name]

    def _noted(
        self, name: str, answer: Callable[..., tuple[Any, ...]], real: Callable[..., Any] | None
    ) -> Callable[..., tuple[Any, ...]]:
        def call(*given: Any) -> tuple[Any, ...]:
            self.calls.append((name, given))
            if real is not None and not name.endswith("ErrorString"):
                with contextlib.suppress(RuntimeError):  # there is no driver
                    real(*given)
            if name in self.failing:
                failure = self.failing[name]
                if isinstance(failure, BaseException):
                    raise failure
                return (failure, *(None for _ in answer(*given)[1:]))
            return answer(*given)

        return call

    def _enter(self, context: _Pointer, answer: Any) -> tuple[Any]:
        self.context = context
        return (answer,)

    def _handle(self) -> _Pointer:
        return _Pointer(next(self._handles))

    def _block(self, size: int) -> _Pointer:
        """Real memory, so that the host can read and write it."""
        block = (ctypes.c_uint8 * size)()
        address = ctypes.addressof(block)
        self._blocks[address] = block
        return _Pointer(address)

    def _launch(self, *given: Any) -> tuple[CUresult]:
        """Reads the arguments as CUDA would: through an array of pointers."""
        pointers, count = given[9], len(self.sizes)
        table = (ctypes.c_void_p * count).from_address(pointers)
        self.kernel_arguments.append(
            [ctypes.string_at(at or 0, size) for at, size in zip(table, self.sizes, strict=True)]
        )
        return (CUresult.CUDA_SUCCESS,)

    def _pointer(self, address: int) -> tuple[cudaError_t, SimpleNamespace]:
        return cudaError_t.cudaSuccess, SimpleNamespace(
            type=self.memory_type, device=self.memory_device, devicePointer=0
        )
