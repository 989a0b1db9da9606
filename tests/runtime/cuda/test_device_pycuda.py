"""pycuda's context and stream, taken over. Neither pycuda nor CUDA is here: both are doubles, so this proves calls only."""

from __future__ import annotations

import pytest

from helpers.cuda_double import CudaDouble, cudaError_t
from lineside.runtime.cuda.pycuda import PycudaDevice
from lineside.runtime.errors import EngineFailed


class Context:
    """A context of pycuda's, and how deep it lies."""

    def __init__(self) -> None:
        self.depth, self.pushes = 0, 0

    def push(self) -> None:
        self.depth += 1
        self.pushes += 1

    def pop(self) -> None:
        self.depth -= 1


class Stream:
    handle = 0xABC0


def test_the_callers_context_is_current_while_the_device_is_used_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, context = CudaDouble(monkeypatch), Context()
    device = PycudaDevice(context)
    assert context.depth == 0 and context.pushes == 1 and device.before is None
    with device.current():
        assert context.depth == 1
        device.allocate(8)
    with pytest.raises(EngineFailed, match="out of memory"), device.current():
        cuda.failing["cudaMalloc"] = cudaError_t.cudaErrorMemoryAllocation
        device.allocate(8)
    assert context.depth == 0
    device.close()
    assert context.depth == 0 and cuda.of("cudaSetDevice") == []


def test_the_callers_stream_is_the_one_that_pictures_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = CudaDouble(monkeypatch)
    device = PycudaDevice(Context(), Stream())
    assert device.before is not None and device.before.handle == 0xABC0
    with device.current():
        ours = device.stream()
        device.wait(ours, device.record(device.before))
    assert cuda.of("cudaEventRecord")[0][1] == 0xABC0
    assert cuda.of("cudaStreamWaitEvent")[0][0] == ours.handle
    device.close()
    assert cuda.of("cudaStreamDestroy") == [(ours.handle,)]
