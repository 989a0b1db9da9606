"""The device of a GPU, without one: what it asks CUDA for, in which order, and how it reads the answers.

CUDA is a double here (`helpers.cuda_double`), so this proves calls and error texts, not that a GPU works. That the real
cuda-bindings have everything that is called is checked with their wheels below.
"""

from __future__ import annotations

import gc
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers.cuda_double import CudaDouble, CUresult, cudaError_t
from lineside.runtime.cuda.hardware import HardwareDevice
from lineside.runtime.errors import DeviceLost, EngineFailed, EngineUnavailable
from lineside.runtime.kernels.kernel import Kernel, Launch, Parameter

SCALE = Kernel(
    "scale",
    Path("/nowhere/scale.cu"),
    (Parameter("out", "pointer", "float*"), Parameter("count", "int"), Parameter("factor", "float")),
)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaDouble:
    compiler = SimpleNamespace(
        compile_ptx=lambda kernel, arch: f"// {kernel.name} for {arch}".encode(),
        compile_cubin=lambda kernel, arch: f"code of {kernel.name} for {arch}".encode(),
        library_version=lambda: "13.0",
    )
    monkeypatch.setitem(sys.modules, "lineside.runtime.kernels.nvrtc", compiler)
    return CudaDouble(monkeypatch)


@pytest.fixture
def device(cuda: CudaDouble) -> HardwareDevice:
    made = HardwareDevice()
    cuda.calls.clear()
    return made


# Opening


def test_the_driver_is_asked_before_anything_else(cuda: CudaDouble) -> None:
    device = HardwareDevice()
    assert cuda.names()[:2] == ["cuInit", "cudaGetDeviceCount"]
    assert (device.name, device.arch, device.integrated) == ("Orin (double)", "compute_87", False)


def test_an_integrated_gpu_is_known_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    CudaDouble(monkeypatch, integrated=True, compute=(11, 0))
    device = HardwareDevice()
    assert device.integrated and device.arch == "compute_110"


@pytest.mark.parametrize(
    ("function", "failure", "told"),
    [
        ("cuInit", RuntimeError('"cuda" is a library of the driver'), "no NVIDIA driver on this machine.*install it"),
        ("cuInit", CUresult.CUDA_ERROR_NO_DEVICE, "no usable NVIDIA GPU.*nvidia-smi"),
        ("cuInit", CUresult.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "driver is too old.*update the driver"),
        (
            "cudaGetDeviceCount",
            cudaError_t.cudaErrorInsufficientDriver,
            "driver is too old.*CUDA's words.*tensorrt-cu12",
        ),
        (
            "cuInit",
            CUresult.CUDA_ERROR_UNKNOWN,
            r"driver does not start \(.*cuInit failed with CUDA_ERROR_UNKNOWN.*nvidia-uvm",
        ),
        ("cudaGetDeviceCount", cudaError_t.cudaErrorUnknown, "driver does not start.*dmesg"),
        ("cudaGetDeviceCount", cudaError_t.cudaErrorNoDevice, "no usable NVIDIA GPU"),
    ],
)
def test_why_there_is_no_gpu(cuda: CudaDouble, function: str, failure: Any, told: str) -> None:
    cuda.failing[function] = failure
    with pytest.raises(EngineUnavailable, match=told):
        HardwareDevice()
    assert "cudaSetDevice" not in cuda.names()


def test_no_gpu_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    CudaDouble(monkeypatch, gpus=0)
    with pytest.raises(EngineUnavailable, match="finds no GPU"):
        HardwareDevice()


def test_without_cuda_bindings_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with pytest.raises(EngineUnavailable, match="pip install cuda-bindings"):
        HardwareDevice()


# Memory and copies


def test_each_kind_of_memory_is_allocated_and_freed_as_what_it_is(cuda: CudaDouble, device: HardwareDevice) -> None:
    own, pinned, mapped = (device.allocate(64, where) for where in ("device", "pinned", "mapped"))
    assert cuda.calls[0] == ("cudaMalloc", (64,))
    assert cuda.of("cudaHostAlloc") == [(64, 1), (64, 1 | 2)]
    assert mapped.address == mapped.seen + 0x100_0000_0000 and pinned.address == pinned.seen
    mapped.host()[:] = 3
    assert pinned.host().shape == mapped.host().shape == (64,) and mapped.host()[63] == 3
    with pytest.raises(EngineFailed, match="cannot reach"):
        own.host()
    for buffer in (own, pinned, mapped, mapped):
        buffer.free()
    assert cuda.of("cudaFree") == [(own.address,)]
    assert cuda.of("cudaFreeHost") == [(pinned.seen,), (mapped.seen,)]
    with pytest.raises(EngineFailed, match="was freed"):
        pinned.host()
    assert device.counters.allocations == 3


def test_copies_are_counted_by_their_direction(cuda: CudaDouble, device: HardwareDevice) -> None:
    own, pinned, stream = device.allocate(64), device.allocate(64, "pinned"), device.stream()
    device.copy(stream, own, pinned, 60)
    device.copy(stream, pinned.address + 8, own, 50)
    device.copy(stream, own, own.address, 40)
    device.fill(stream, own, 7, 30)
    assert cuda.of("cudaMemcpyAsync")[1] == (pinned.address + 8, own.address, 50, 4, stream.handle)
    assert cuda.of("cudaMemsetAsync") == [(own.address, 7, 30, stream.handle)]
    assert (device.counters.bytes_to_device, device.counters.bytes_to_host) == (60, 50)
    with pytest.raises(EngineFailed, match="no room for 65 bytes"):
        device.copy(stream, own, pinned, 65)


# Kernels, streams, graphs


def test_a_kernel_is_compiled_for_this_gpu_once_and_gets_its_arguments(
    cuda: CudaDouble, device: HardwareDevice
) -> None:
    stream = device.stream()
    cuda.sizes = [8, 4, 4]
    for _ in range(2):
        device.launch(stream, Launch(SCALE, (3, 2, 1), (32, 4, 1), 256, (0x7FFF_0000_1234, -5, 0.5)))
    assert cuda.of("cuModuleLoadData") == [(b"// scale for compute_87\0",)]
    assert cuda.of("cuModuleGetFunction")[0][1] == b"scale"
    function, *grid = cuda.of("cuLaunchKernel")[0][:9]
    assert grid == [3, 2, 1, 32, 4, 1, 256, stream.handle] and function
    assert cuda.kernel_arguments[0] == [
        struct.pack("<Q", 0x7FFF_0000_1234),
        struct.pack("<i", -5),
        struct.pack("<f", 0.5),
    ]
    assert device.counters.launches == 2


@pytest.mark.parametrize(
    ("grid", "block", "shared", "arguments", "told"),
    [
        ((1, 1, 1), (1, 1, 1), 0, (1,), "takes 3 arguments and got 1"),
        ((1, 1, 1), (1, 1, 1), 0, (-1, 1, 1.0), "give an address"),
        ((1, 1, 1), (1, 1, 1), 0, (1, 1 << 40, 1.0), "an int of 32 bits"),
        ((0, 1, 1), (1, 1, 1), 0, (1, 1, 1.0), r"a grid of \(0, 1, 1\) blocks"),
        ((1, 1, 65536), (1, 1, 1), 0, (1, 1, 1.0), "65536.*65535.* are possible"),
        ((1, 1, 1), (64, 32, 1), 0, (1, 1, 1.0), "1024 together"),
        ((1, 1, 1), (1, 1, 1), 48 << 11, (1, 1, 1.0), "bytes of shared memory"),
    ],
)
def test_what_no_gpu_launches_is_refused_before_the_driver_sees_it(
    cuda: CudaDouble, device: HardwareDevice, grid: Any, block: Any, shared: int, arguments: Any, told: str
) -> None:
    stream = device.stream()
    with pytest.raises(EngineFailed, match=told):
        device.launch(stream, Launch(SCALE, grid, block, shared, arguments))
    assert cuda.of("cuLaunchKernel") == [] and device.counters.launches == 0


def test_streams_do_not_wait_for_the_default_one(cuda: CudaDouble, device: HardwareDevice) -> None:
    device.stream()
    assert cuda.calls == [("cudaStreamCreateWithFlags", (1,))]
    assert device.adopt(0x77).handle == 0x77


def test_a_graph_is_captured_in_this_thread_alone_instantiated_once_and_launched(
    cuda: CudaDouble, device: HardwareDevice
) -> None:
    own, pinned, stream = device.allocate(64), device.allocate(64, "pinned"), device.stream()
    device.load(SCALE)
    cuda.sizes = [8, 4, 4]
    cuda.calls.clear()

    def record() -> None:
        device.copy(stream, own, pinned, 64)
        device.launch(stream, Launch(SCALE, (1, 1, 1), (1, 1, 1), 0, (own.address, 1, 1.0)))
        device.copy(stream, pinned, own, 32)

    graph = device.capture(stream, record)
    assert cuda.names() == [
        "cudaStreamBeginCapture", "cudaMemcpyAsync", "cuLaunchKernel", "cudaMemcpyAsync", "cudaStreamEndCapture",
        "cudaGraphInstantiate", "cudaGraphDestroy",
    ]  # fmt: skip
    assert cuda.of("cudaStreamBeginCapture") == [(stream.handle, "thread")]
    assert (device.counters.launches, device.counters.bytes_to_device, device.counters.bytes_to_host) == (0, 0, 0)
    cuda.calls.clear()
    for _ in range(3):
        graph.launch(stream)
        device.synchronize(stream)
    assert cuda.names() == ["cudaGraphLaunch", "cudaStreamSynchronize"] * 3
    counters = device.counters
    assert (counters.graph_launches, counters.synchronisations) == (3, 3)
    assert (counters.bytes_to_device, counters.bytes_to_host) == (192, 96)
    graph.free()
    graph.free()
    assert len(cuda.of("cudaGraphExecDestroy")) == 1
    with pytest.raises(EngineFailed, match="freed"):
        graph.launch(stream)


@pytest.mark.parametrize("what", ["allocate", "synchronise", "load"])
def test_what_would_void_a_capture_is_refused_and_the_capture_ended(
    cuda: CudaDouble, device: HardwareDevice, what: str
) -> None:
    stream = device.stream()
    forbidden: dict[str, Callable[[], object]] = {
        "allocate": lambda: device.allocate(1),
        "synchronise": lambda: device.synchronize(stream),
        "load": lambda: device.load(SCALE),
    }
    with pytest.raises(EngineFailed, match="while a graph is captured: do it before"):
        device.capture(stream, lambda: forbidden[what]() and None)
    assert cuda.names()[-2:] == ["cudaStreamEndCapture", "cudaGraphDestroy"]
    forbidden[what]()


class Picture:
    """Of another library's: garbage in a circle, which frees memory of the GPU when it is found."""

    def __init__(self, cuda: Any) -> None:
        self.itself, self.cuda = self, cuda

    def __del__(self) -> None:
        self.cuda.cudaFree(0x1234)


def test_garbage_is_not_collected_within_a_capture(cuda: CudaDouble, device: HardwareDevice) -> None:
    """CUDA would call the capture void."""
    stream = device.stream()

    def record() -> None:
        Picture(sys.modules["cuda.bindings.runtime"])
        made.extend([] for _ in range(2 * gc.get_threshold()[0]))  # which brings the collector

    made: list[object] = []
    device.capture(stream, record)
    gc.collect()
    names = cuda.names()
    assert names.index("cudaFree") > names.index("cudaStreamEndCapture")


def test_the_collector_is_as_it_was_after_captures_of_several_threads(device: HardwareDevice) -> None:
    first, second = device.stream(), device.stream()
    with pytest.raises(ZeroDivisionError):
        device.capture(first, lambda: 1 / 0 and None)
    assert gc.isenabled()
    inside, go, seen = threading.Event(), threading.Event(), list[bool]()

    def long() -> None:
        inside.set()
        assert go.wait(10)
        seen.append(gc.isenabled())

    other = threading.Thread(target=lambda: void(device.capture(first, long)))
    other.start()
    assert inside.wait(10)
    device.capture(second, lambda: None)
    go.set()
    other.join(10)
    assert seen == [False] and gc.isenabled()
    gc.disable()
    try:
        device.capture(first, lambda: None)
        assert not gc.isenabled(), "somebody wants it so"
    finally:
        gc.enable()


def void(answer: object) -> None:
    """Takes an answer that nobody needs."""


def test_marks_are_used_again(cuda: CudaDouble, device: HardwareDevice) -> None:
    stream, other = device.stream(), device.stream()
    for _ in range(5):
        device.wait(other, device.record(stream))
    assert len(cuda.of("cudaEventCreateWithFlags")) == 1
    start, end = device.record(stream), device.record(stream)
    assert start.handle != end.handle and device.elapsed(start, end) == 1.5


def test_what_a_gpu_reaches(cuda: CudaDouble, device: HardwareDevice) -> None:
    assert device.reaches(0x5000, 10)
    cuda.memory_device = 1
    assert not device.reaches(0x5000, 10)
    cuda.memory_type = 3
    assert device.reaches(0x5000, 10)
    cuda.memory_type = 1
    assert not device.reaches(0x5000, 10)


def test_memory_of_another_context_on_the_same_gpu_is_out_of_reach(cuda: CudaDouble, device: HardwareDevice) -> None:
    pointer = type(cuda.context)
    with device.current():
        assert device.reaches(0x5000, 10)
        cuda.memory_context = pointer(0xBAD)
        assert not device.reaches(0x5000, 10)
        assert cuda.of("cuPointerGetAttribute")[-1] == (1, 0x5000)
        cuda.memory_context = pointer(0)  # of a pool, which every context of the GPU reaches
        assert device.reaches(0x5000, 10)
        cuda.failing["cuPointerGetAttribute"] = CUresult.CUDA_ERROR_INVALID_VALUE  # or the driver says it so
        assert device.reaches(0x5000, 10)
        cuda.failing["cuPointerGetAttribute"] = CUresult.CUDA_ERROR_LAUNCH_FAILED
        with pytest.raises(DeviceLost):
            device.reaches(0x5000, 10)


# Faults


def test_out_of_memory_is_told_with_what_to_do(cuda: CudaDouble, device: HardwareDevice) -> None:
    cuda.failing["cudaMalloc"] = cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(EngineFailed, match=r"out of memory: the allocation of 99 bytes .*choose fewer lanes") as caught:
        device.allocate(99)
    assert not isinstance(caught.value, DeviceLost)
    cuda.failing.clear()
    device.allocate(99)


@pytest.mark.parametrize(
    ("driver", "remedy"),
    [(12040, r"'nvidia-cuda-nvrtc-cu12==12.4.\*' 'cuda-bindings==12.\*'"), (13000, "'nvidia-cuda-nvrtc==13.0.*'")],
)
def test_code_that_the_driver_does_not_know(cuda: CudaDouble, device: HardwareDevice, driver: int, remedy: str) -> None:
    cuda.cuda = driver
    cuda.failing["cuModuleLoadData"] = CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION
    known = f"CUDA up to {driver // 1000}.{driver % 1000 // 10}, and NVRTC 13.0 compiles the kernels"
    with pytest.raises(EngineUnavailable, match=rf"too old: it knows {known} \(loading the kernel scale .*{remedy}"):
        device.load(SCALE)
    assert cuda.of("cuModuleLoadData") == [(b"// scale for compute_87\0",), (b"code of scale for compute_87",)]


def test_a_driver_that_reads_older_ptx_only_takes_finished_code(
    cuda: CudaDouble, device: HardwareDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(code: bytes) -> tuple[Any, Any]:
        fits = not code.startswith(b"//")
        return (CUresult.CUDA_SUCCESS, 5) if fits else (CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION, None)

    monkeypatch.setattr(sys.modules["cuda.bindings.driver"], "cuModuleLoadData", load)
    assert device.load(SCALE).kernel == SCALE
    assert [module for module, _ in cuda.of("cuModuleGetFunction")] == [5]


def test_whether_the_driver_reads_the_ptx_alone(cuda: CudaDouble, device: HardwareDevice) -> None:
    assert device.reads(SCALE)
    assert len(cuda.of("cuModuleLoadData")) == len(cuda.of("cuModuleUnload")) == 1
    cuda.failing["cuModuleLoadData"] = CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION
    assert not device.reads(SCALE)
    assert cuda.of("cuModuleLoadData")[1:] == [(b"// scale for compute_87\0",)]


def test_a_compiler_without_code_for_the_gpu_leaves_the_drivers_error(
    cuda: CudaDouble, device: HardwareDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(kernel: Kernel, arch: str) -> bytes:
        raise EngineFailed("NVRTC does not compile for it")

    monkeypatch.setattr(sys.modules["lineside.runtime.kernels.nvrtc"], "compile_cubin", refuse)
    cuda.failing["cuModuleLoadData"] = CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION
    with pytest.raises(EngineUnavailable, match="driver is too old"):
        device.load(SCALE)


def test_a_refused_launch_passes(cuda: CudaDouble, device: HardwareDevice) -> None:
    cuda.failing["cudaGraphLaunch"] = cudaError_t.cudaErrorInvalidValue
    stream = device.stream()
    graph = device.capture(stream, lambda: None)
    with pytest.raises(EngineFailed, match="CUDA refused: the launch of a graph failed with cudaErrorInvalidValue"):
        graph.launch(stream)
    cuda.failing.clear()
    graph.launch(stream)
    assert device.counters.graph_launches == 1


def test_a_capture_that_cuda_calls_void(cuda: CudaDouble, device: HardwareDevice) -> None:
    cuda.failing["cudaStreamEndCapture"] = cudaError_t.cudaErrorStreamCaptureInvalidated
    with pytest.raises(EngineFailed, match="the capture of a graph failed with cudaErrorStreamCaptureInvalidated"):
        device.capture(device.stream(), lambda: None)


@pytest.mark.parametrize(
    "error", [cudaError_t.cudaErrorIllegalAddress, cudaError_t.cudaErrorLaunchFailure, cudaError_t.cudaErrorUnknown]
)
def test_a_lost_gpu_says_the_same_to_everything_and_is_not_asked_again(
    cuda: CudaDouble, device: HardwareDevice, error: cudaError_t
) -> None:
    stream, buffer = device.stream(), device.allocate(8)
    graph = device.capture(stream, lambda: None)
    cuda.failing["cudaStreamSynchronize"] = error
    with pytest.raises(
        DeviceLost, match=rf"GPU was lost: the work of a frame failed with {error.name}.*start it again"
    ):
        device.synchronize(stream)
    cuda.calls.clear()
    for ask in (
        lambda: device.allocate(1),
        lambda: device.synchronize(stream),
        lambda: device.fill(stream, buffer, 0, 8),
        lambda: graph.launch(stream),
        lambda: device.record(stream),
        device.stream,
        lambda: device.current().__enter__(),
    ):
        with pytest.raises(DeviceLost, match="the work of a frame failed"):
            ask()
    assert cuda.calls == []
    device.close()


def test_a_kernel_that_fails_loses_the_gpu(cuda: CudaDouble, device: HardwareDevice) -> None:
    cuda.sizes = [8, 4, 4]
    cuda.failing["cuLaunchKernel"] = CUresult.CUDA_ERROR_LAUNCH_FAILED
    with pytest.raises(DeviceLost, match="the launch of scale failed with CUDA_ERROR_LAUNCH_FAILED"):
        device.launch(device.stream(), Launch(SCALE, (1, 1, 1), (1, 1, 1), 0, (1, 1, 1.0)))


def test_memory_that_the_gpu_cannot_reach_is_given_back(cuda: CudaDouble, device: HardwareDevice) -> None:
    cuda.failing["cudaHostGetDevicePointer"] = cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(EngineFailed, match="out of memory"):
        device.allocate(64, "mapped")
    assert len(cuda.of("cudaHostAlloc")) == len(cuda.of("cudaFreeHost")) == 1


def test_a_context_of_the_callers_is_current_again_afterwards(cuda: CudaDouble, device: HardwareDevice) -> None:
    cuda.context = type(cuda.context)(0)
    with device.current():
        pass
    assert cuda.of("cuCtxSetCurrent") == [], "a thread that had none keeps the GPU"
    cuda.context = type(cuda.context)(0xC0)
    with pytest.raises(KeyError), device.current():
        assert cuda.of("cuCtxSetCurrent") == []
        raise KeyError
    assert cuda.of("cuCtxSetCurrent") == [(cuda.context,)]
    cuda.calls.clear()
    device.close()
    assert [name for name in cuda.names() if name.startswith("cuCtx")] == ["cuCtxGetCurrent", "cuCtxSetCurrent"]


def test_close_frees_everything_once(cuda: CudaDouble, device: HardwareDevice) -> None:
    stream = device.stream()
    device.allocate(8)
    device.allocate(8, "pinned")
    device.load(SCALE)
    mark = device.record(stream)
    device.capture(stream, lambda: None)
    cuda.calls.clear()
    device.close()
    device.close()
    del mark
    freed = [name for name in cuda.names() if name != "cudaSetDevice" and not name.startswith("cuCtx")]
    assert sorted(freed) == sorted(
        ["cudaGraphExecDestroy", "cudaEventDestroy", "cudaStreamDestroy", "cuModuleUnload", "cudaFree", "cudaFreeHost"]
    )
    with pytest.raises(EngineFailed, match="closed"):
        device.allocate(1)
