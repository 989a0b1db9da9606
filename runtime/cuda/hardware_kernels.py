"""Kernels in a GPU: compiled for it once, loaded, and launched with their arguments as CUDA takes them."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineside.runtime.errors import DeviceLost, EngineError, EngineUnavailable
from lineside.runtime.kernels.limits import check_launch

if TYPE_CHECKING:
    from lineside.runtime.cuda.hardware_calls import Calls
    from lineside.runtime.kernels.kernel import Kernel, Launch

__all__ = ["HardwareKernels"]

_C_TYPES: dict[str, Callable[[Any], Any]] = {"pointer": ctypes.c_void_p, "int": ctypes.c_int32, "float": ctypes.c_float}


@dataclass
class _Loaded:
    """A kernel in the device.

    Attributes:
        kernel: Its declaration.
    """

    kernel: Kernel
    module: Any
    function: Any


class HardwareKernels:
    """The kernels that a GPU holds.

    Args:
        calls: The way to CUDA.
        arch: What they are compiled for, such as ``compute_87``.
    """

    def __init__(self, calls: Calls, arch: str) -> None:
        self._calls = calls
        self._arch = arch
        self._lock = threading.Lock()
        self._loaded: dict[Kernel, _Loaded] = {}

    def load(self, kernel: Kernel) -> _Loaded:
        """The kernel in the device, compiled and loaded once.

        Raises:
            EngineUnavailable: There is no compiler, or the driver is too old for what it makes.
            EngineFailed: It does not compile, or CUDA refuses.
        """
        found = self._loaded.get(kernel)
        if found is not None:
            return found
        ptx = self._ptx(kernel)
        with self._lock:
            found = self._loaded.get(kernel)
            if found is None:
                module = self._module(kernel, ptx)
                find, name = self._calls.driver.cuModuleGetFunction, kernel.name.encode()
                function = self._calls(find, f"finding the kernel {kernel.name}", module, name)
                found = self._loaded[kernel] = _Loaded(kernel, module, function)
        return found

    def reads(self, kernel: Kernel) -> bool:
        """Whether the driver finishes a kernel's PTX; errors as `load`."""
        driver, ptx = self._calls.driver, self._ptx(kernel)
        try:
            module = self._calls(driver.cuModuleLoadData, f"loading the kernel {kernel.name}", ptx)
        except EngineUnavailable:
            return False
        driver.cuModuleUnload(module)
        return True

    def launch(self, stream: int, launch: Launch) -> None:
        """Enqueues a kernel.

        Args:
            stream: Handle of the stream.
            launch: What to run.

        Raises:
            EngineFailed: No GPU launches that, or CUDA refuses; else as `load`.
        """
        check_launch(launch)
        function = self.load(launch.kernel).function
        values = [
            _C_TYPES[parameter.kind](value)
            for parameter, value in zip(launch.kernel.parameters, launch.arguments, strict=True)
        ]
        # Kept alive until the call is over: CUDA copies the values within it, in a capture too.
        pointers = (ctypes.c_void_p * max(1, len(values)))(*(ctypes.addressof(value) for value in values))
        self._calls(
            self._calls.driver.cuLaunchKernel,
            f"the launch of {launch.kernel.name}",
            function, *launch.grid, *launch.block, launch.shared, stream, ctypes.addressof(pointers), 0,
        )  # fmt: skip

    def clear(self) -> None:
        """Takes all of them out of the device; what CUDA says to it does not matter any more."""
        for loaded in self._loaded.values():
            self._calls.driver.cuModuleUnload(loaded.module)
        self._loaded.clear()

    def _ptx(self, kernel: Kernel) -> bytes:
        """A kernel's PTX with the NUL that the driver wants."""
        self._calls.ready("a kernel cannot be loaded")
        from lineside.runtime.kernels.nvrtc import compile_ptx

        return compile_ptx(kernel, self._arch).rstrip(b"\0") + b"\0"

    def _module(self, kernel: Kernel, ptx: bytes) -> Any:
        """A kernel's code in the device. A driver older than NVRTC may not read PTX and yet take finished code."""
        load, what = self._calls.driver.cuModuleLoadData, f"loading the kernel {kernel.name}"
        try:
            return self._calls(load, what, ptx)
        except EngineUnavailable as older:
            from lineside.runtime.kernels.nvrtc import compile_cubin

            try:
                return self._calls(load, what, compile_cubin(kernel, self._arch))
            except DeviceLost:
                raise
            except EngineError:
                raise self._too_new(older) from older

    def _too_new(self, error: EngineUnavailable) -> EngineUnavailable:
        """What to do where the driver takes neither PTX nor finished code of this NVRTC."""
        from lineside.runtime.kernels.nvrtc import library_version

        number = int(self._calls(self._calls.runtime.cudaDriverGetVersion, "cudaDriverGetVersion"))
        major, driver = number // 1000, f"{number // 1000}.{number % 1000 // 10}"
        told = str(error).removeprefix("the NVIDIA driver is too old: ").partition(";")[0]
        package = "nvidia-cuda-nvrtc" if major > 12 else "nvidia-cuda-nvrtc-cu12"
        return EngineUnavailable(
            f"the NVIDIA driver is too old: it knows CUDA up to {driver}, and NVRTC {library_version()} compiles the "
            f"kernels ({told}). Update the driver (JetPack on a Jetson), or take the NVRTC of its CUDA: pip uninstall "
            f"nvidia-cuda-nvrtc, then pip install '{package}=={driver}.*' 'cuda-bindings=={major}.*'"
        )
