"""The real cuda-bindings, both that are supported, without a GPU: they take every call that the device makes of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.cuda_wheels import STORE
from helpers.fetched import once, pip

VERSIONS = ("12.9.*", "13.*")
"""For JetPack 6, and for JetPack 7 and desktops."""

HELPERS = Path(__file__).resolve().parents[2]

USE = """
import sys
from types import SimpleNamespace

import pytest
from cuda.bindings import driver, runtime
from helpers.cuda_double import CudaDouble

patch = pytest.MonkeyPatch()
cuda = CudaDouble(patch, real=(runtime, driver))
patch.setitem(sys.modules, "lineside.runtime.kernels.nvrtc", SimpleNamespace(
    compile_ptx=lambda kernel, arch: b"// ptx", compile_cubin=lambda kernel, arch: b"ELF", library_version=lambda: "13.0"))

from pathlib import Path
from lineside.runtime.cuda.hardware import HardwareDevice
from lineside.runtime.kernels.kernel import Kernel, Launch, Parameter

device = HardwareDevice()
cuda.context = type(cuda.context)(0xC0)
with device.current():
    own, pinned, mapped = (device.allocate(64, where) for where in ("device", "pinned", "mapped"))
    stream, other = device.stream(), device.adopt(2)
    kernel = Kernel("k", Path("/k.cu"), (Parameter("out", "pointer"), Parameter("count", "int"), Parameter("by", "float")))
    device.load(kernel)
    cuda.sizes = [8, 4, 4]
    def record():
        device.copy(stream, own, pinned, 64)
        device.launch(stream, Launch(kernel, (1, 1, 1), (32, 1, 1), 0, (own.address, 3, 0.5)))
        device.fill(stream, own, 0, 64)
    graph = device.capture(stream, record)
    graph.launch(stream)
    device.wait(stream, device.record(other))
    device.elapsed(device.record(stream), device.record(stream))
    device.synchronize(stream)
    assert device.reaches(own.address, 64)
    try:
        device.capture(stream, lambda: 1 / 0)
    except ZeroDivisionError:
        pass
    for buffer in (own, mapped):
        buffer.free()
    graph.free()
device.close()
for field in ("type", "device", "devicePointer"):
    assert hasattr(runtime.cudaPointerAttributes, field), field
print(len(set(cuda.names())))
"""

NO_DRIVER = """
from lineside.runtime.cuda.hardware import HardwareDevice
from lineside.runtime.errors import EngineUnavailable
try:
    HardwareDevice()
except EngineUnavailable as error:
    print(error)
"""

CODES = """
from cuda.bindings import driver, runtime
names = [error.name for error in (*runtime.cudaError_t, *driver.CUresult)]
print(*(name.replace("cudaError", "").replace("CUDA_ERROR_", "").replace("_", "").upper() for name in names))
"""


@pytest.fixture(scope="module", params=VERSIONS)
def bindings(request: pytest.FixtureRequest) -> Path:
    """A folder with cuda-bindings of one version, fetched once."""
    version = request.param
    folder = STORE / f"bindings-{version.rstrip('.*')}-{sys.version_info[0]}{sys.version_info[1]}"
    words = ("install", "-q", "--no-deps", "--target", str(folder), "cuda-pathfinder")
    return once(folder, lambda place: pip(f"cuda-bindings=={version}", *words))


def run(bindings: Path, script: str) -> str:
    """What a script prints that finds the bindings, and tests' helpers."""
    path = os.pathsep.join((str(bindings), str(HELPERS)))
    answer = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def has_driver() -> bool:
    return Path("/dev/nvidiactl").exists() or Path("/dev/nvhost-gpu").exists()


@pytest.mark.skipif(has_driver(), reason="the handles of the double are not a real driver's, which would crash")
def test_the_real_bindings_take_every_call_of_the_device(bindings: Path) -> None:
    """Each function is there and takes our arguments: what it answers is that there is no driver."""
    assert int(run(bindings, USE)) >= 30


@pytest.mark.skipif(has_driver(), reason="there is a driver")
def test_without_a_driver_the_real_bindings_give_a_plain_sentence(bindings: Path) -> None:
    told = run(bindings, NO_DRIVER)
    assert "there is no NVIDIA driver on this machine" in told and "install it" in told and "onnxruntime" in told


def test_the_errors_that_are_known_are_errors_of_cuda(bindings: Path) -> None:
    from lineside.runtime.cuda import library

    names = set(run(bindings, CODES).split())
    known = library.FOR_EVER | library.MEMORY | library.OLD_DRIVER | library.NO_GPU
    assert known - names <= {"TENSORMEMORYLEAK", "CONTAINED"}, "newer than the older of the two"
