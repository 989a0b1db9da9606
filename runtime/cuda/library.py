"""NVIDIA's libraries, through cuda-bindings: found, asked whether there is a GPU, and every answer of theirs read.

Without a driver some libraries of NVIDIA's end the whole program at their first use, so the driver is asked first.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lineside.runtime.errors import DeviceLost, EngineFailed, EngineUnavailable

__all__ = ["FOR_EVER", "Library", "open_library"]

INSTALL = "pip install cuda-bindings (12.* on JetPack 6, 13.* on JetPack 7 and on desktops)"

FOR_EVER = frozenset(
    {
        "ILLEGALADDRESS", "LAUNCHFAILURE", "LAUNCHFAILED", "LAUNCHTIMEOUT", "HARDWARESTACKERROR", "ILLEGALINSTRUCTION",
        "MISALIGNEDADDRESS", "INVALIDADDRESSSPACE", "INVALIDPC", "ECCUNCORRECTABLE", "ASSERT", "CONTEXTISDESTROYED",
        "EXTERNALDEVICE", "DEVICENOTLICENSED", "NVLINKUNCORRECTABLE", "CONTAINED", "TENSORMEMORYLEAK", "UNKNOWN",
    }
)  # fmt: skip
"""Errors after which CUDA refuses everything that this process asks, as both of its interfaces spell them, without
``cudaError`` or ``CUDA_ERROR_`` and the underscores, in capitals. UNKNOWN is one of them because nothing says that it
passes: a station that took it for a refusal would fail with every frame and never be started again."""

MEMORY = frozenset({"MEMORYALLOCATION", "OUTOFMEMORY"})
OLD_DRIVER = frozenset(
    {"INSUFFICIENTDRIVER", "SYSTEMDRIVERMISMATCH", "UNSUPPORTEDPTXVERSION", "COMPATNOTSUPPORTEDONDEVICE"}
)
NO_GPU = frozenset({"NODEVICE", "DEVICEUNAVAILABLE", "DEVICESUNAVAILABLE", "SYSTEMNOTREADY"})


@dataclass(frozen=True)
class Library:
    """Both interfaces of CUDA.

    Attributes:
        runtime: ``cuda.bindings.runtime``.
        driver: ``cuda.bindings.driver``.
    """

    runtime: Any
    driver: Any

    def read(self, answer: Sequence[Any], what: str) -> Any:
        """What a call of either interface gave, its error checked.

        Args:
            answer: What it returned: the error, then the results.
            what: What was called, for people.

        Returns:
            The result, a tuple of them where there are several, None where there is none.

        Raises:
            EngineUnavailable: The driver is too old for what was asked, or there is no GPU.
            EngineFailed: CUDA refuses.
            DeviceLost: CUDA will refuse everything from now on.
        """
        error, results = answer[0], answer[1:]
        if int(error):
            raise self.error(error, what)
        return (results[0] if len(results) == 1 else tuple(results)) if results else None

    def error(self, error: Any, what: str) -> EngineFailed | EngineUnavailable:
        """The exception for an error code.

        Args:
            error: A ``cudaError_t`` or ``CUresult``.
            what: What was called, for people.
        """
        name = str(error.name)
        short = name.replace("cudaError", "").replace("CUDA_ERROR_", "").replace("_", "").upper()
        told = f"{what} failed with {name} ({self._meaning(error)})"
        if short in FOR_EVER:
            return DeviceLost(
                f"the GPU was lost: {told}; nothing on it works any more in this process: end it and start it again, and "
                "if it comes back, run `lineside selftest` and look into the kernel's log (dmesg) for Xid messages"
            )
        if short in MEMORY:
            return EngineFailed(
                f"the GPU is out of memory: {told}; choose fewer lanes, a smaller imgsz or a smaller model, or end other "
                "programs that use it"
            )
        if short in OLD_DRIVER:
            return EngineUnavailable(
                f"the NVIDIA driver is too old: {told}; update the driver (JetPack on a Jetson), or install packages of "
                'an older CUDA: pip install "lineside[tensorrt-cu12]"'
            )
        if short in NO_GPU:
            return EngineUnavailable(f"there is no usable NVIDIA GPU: {told}; look at what nvidia-smi says")
        return EngineFailed(f"CUDA refused: {told}; load the bundle again, and report it if it comes back")

    def _meaning(self, error: Any) -> str:
        """CUDA's own words for an error; they may not be there where the driver is not."""
        ask = (
            self.driver.cuGetErrorString if isinstance(error, self.driver.CUresult) else self.runtime.cudaGetErrorString
        )
        try:
            answer = ask(error)
        except RuntimeError:
            return "no further words"
        text = answer[1]
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def open_library() -> Library:
    """Finds NVIDIA's libraries and asks whether there is a GPU.

    Raises:
        EngineUnavailable: cuda-bindings is not installed or broken, there is no driver, an old one, or no GPU.
    """
    try:
        driver = importlib.import_module("cuda.bindings.driver")
        runtime = importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise EngineUnavailable(f"cuda-bindings cannot be imported ({error}): {INSTALL}") from error
    library = Library(runtime, driver)
    try:
        answer = driver.cuInit(0)
    except RuntimeError as error:  # the driver's library is not found
        raise EngineUnavailable(
            f"there is no NVIDIA driver on this machine ({str(error).splitlines()[0]}): install it, in a container start "
            "that with --runtime nvidia or --gpus all, or choose engine='onnxruntime'"
        ) from error
    try:
        library.read(answer, "cuInit")
        count = library.read(runtime.cudaGetDeviceCount(), "cudaGetDeviceCount")
    except DeviceLost as error:  # nothing was there yet that could be lost
        told = str(error).removeprefix("the GPU was lost: ").partition(";")[0]
        raise EngineUnavailable(
            f"the NVIDIA driver does not start ({told}): look at what nvidia-smi and dmesg say; "
            "its kernel modules may be missing (modprobe nvidia-uvm) or of another version, which a restart of the machine "
            "cures"
        ) from error
    if not count:
        raise EngineUnavailable(
            "the NVIDIA driver finds no GPU: look at what nvidia-smi says, or choose engine='onnxruntime'"
        )
    return library
