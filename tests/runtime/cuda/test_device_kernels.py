"""Kernels on the host device: in order with copies, refused where a GPU refuses, and lost where a GPU is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import pytest

from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.errors import DeviceLost, EngineFailed
from lineside.runtime.kernels.kernel import Kernel, Launch, Parameter

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="kernels are built with g++, which is not there")

SOURCE = """
#include "portable.cuh"
LINESIDE_KERNEL void twice(float* values, int count, float more) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] = 2.0f * values[i] + more;
}
"""


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    path = tmp_path_factory.mktemp("kernels") / "twice.cu"
    path.write_text(SOURCE)
    return Kernel(
        "twice", path, (Parameter("values", "pointer", "float*"), Parameter("count", "int"), Parameter("more", "float"))
    )


@pytest.fixture
def device() -> Iterator[HostDevice]:
    made = HostDevice()
    yield made
    made.close()


def launch(kernel: Kernel, address: int, count: int, **changes: object) -> Launch:
    sizes = {"grid": ((count + 31) // 32, 1, 1), "block": (32, 1, 1), "shared": 0} | changes
    return Launch(kernel, arguments=(address, count, 1.0), **sizes)  # type: ignore[arg-type]


def test_a_kernel_runs_between_two_copies_and_in_a_graph(device: HostDevice, twice: Kernel) -> None:
    stream, pinned, values = device.stream(), device.allocate(400, "pinned"), device.allocate(400)
    floats = pinned.host().view(np.float32)
    device.load(twice)

    def frame() -> None:
        device.copy(stream, values, pinned, 400)
        device.launch(stream, launch(twice, values.address, 100))
        device.copy(stream, pinned, values, 400)

    floats[:] = np.arange(100)
    frame()
    device.synchronize(stream)
    np.testing.assert_array_equal(floats, 2 * np.arange(100) + 1)
    assert device.counters.launches == 1
    graph = device.capture(stream, frame)
    for _ in range(2):
        graph.launch(stream)
    device.synchronize(stream)
    np.testing.assert_array_equal(floats, 8 * np.arange(100) + 7)
    assert (device.counters.launches, device.counters.graph_launches) == (1, 2)
    device.check_bounds()


def test_a_kernel_is_not_built_within_a_capture(device: HostDevice, twice: Kernel) -> None:
    stream, values = device.stream(), device.allocate(4)
    with pytest.raises(EngineFailed, match="cannot be loaded while a graph is captured"):
        device.capture(stream, lambda: device.launch(stream, launch(twice, values.address, 1)))


@pytest.mark.parametrize(
    "change", [{"block": (1025, 1, 1)}, {"grid": (1, 65536, 1)}, {"grid": (0, 1, 1)}, {"shared": 1 << 20}]
)
def test_launches_that_no_gpu_takes_are_refused_and_the_device_works_on(
    device: HostDevice, twice: Kernel, change: dict[str, object]
) -> None:
    stream, values = device.stream(), device.allocate(4)
    with pytest.raises(EngineFailed) as caught:
        device.launch(stream, launch(twice, values.address, 1, **change))
    assert not isinstance(caught.value, DeviceLost)
    device.launch(stream, launch(twice, values.address, 1))
    device.synchronize(stream)


def test_a_kernel_with_an_address_of_nobody_loses_the_device(device: HostDevice, twice: Kernel) -> None:
    stream, values = device.stream(), device.allocate(4)
    device.launch(stream, launch(twice, values.address + 4, 1))
    with pytest.raises(DeviceLost, match=r"while it ran twice \(an illegal address"):
        device.synchronize(stream)


def test_faults_can_be_tried(twice: Kernel) -> None:
    seen: list[str] = []
    device = HostDevice(inspect=seen.append)
    stream, values = device.stream(), device.allocate(4)
    device.load(twice)
    device.fill(stream, values, 0, 4)
    device.launch(stream, launch(twice, values.address, 1))
    device.synchronize(stream)
    assert [what for what in seen if not what.startswith("run ")] == ["allocate", "fill", "launch twice"]
    assert [what for what in seen if what.startswith("run ")] == ["run fill", "run twice"]
    device.close()
