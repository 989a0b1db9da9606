"""What an engine is built for and bound to: this TensorRT, this GPU, this system."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineside.runtime.engines.tensorrt.library import require_library
from lineside.runtime.errors import EngineUnavailable

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Device

__all__ = ["Machine", "open_device", "open_machine"]


@dataclass(frozen=True)
class Machine:
    """The machine, as far as an engine depends on it.

    Attributes:
        trt: The module ``tensorrt``.
        device: The GPU.
        version: Version of TensorRT, whole.
        sm: Compute capability of the GPU, such as ``87``.
        gpu: Its name, for people.
        platform: System and processor, such as ``linux-aarch64``.
    """

    trt: Any
    device: Device
    version: str
    sm: str
    gpu: str
    platform: str


def open_machine(device: Device | None = None) -> Machine:
    """Finds TensorRT, then the driver and the GPU.

    TensorRT is not used before, because without a driver it would end the whole program.

    Args:
        device: A GPU that is open already.

    Raises:
        EngineUnavailable: Something of it is not there; the message says what, and what to do. Where neither TensorRT nor
            a GPU is, it says both, for a library of some gigabytes is no use without the other.
    """
    try:
        trt = require_library()
    except EngineUnavailable as error:
        if device is None:
            _look_for_device(error)
        raise
    device = device or open_device()
    return Machine(
        trt=trt,
        device=device,
        version=str(trt.__version__),
        sm=device.arch.rpartition("_")[2],
        gpu=device.name,
        platform=f"{sys.platform}-{platform.machine()}",
    )


def _look_for_device(lacking: EngineUnavailable) -> None:
    """Says what stands in the way of a GPU, before what else is lacking."""
    try:
        open_device().close()
    except EngineUnavailable as error:
        raise EngineUnavailable(f"{error}. Besides, {lacking}") from lacking


def open_device() -> Device:
    """The first GPU.

    Raises:
        EngineUnavailable: There is no driver, no GPU, or no cuda-bindings.
    """
    from lineside.runtime.cuda.hardware import HardwareDevice

    return HardwareDevice()
