"""Opens the engines of a device for a bundle: one per slot of each lane, and the device closes with the last of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from lineside.runtime.cuda.kernels import KERNELS
from lineside.runtime.cuda.runner import DeviceRunner
from lineside.runtime.errors import BadOption, EngineError

if TYPE_CHECKING:
    from lineside.runtime.bundle import Bundle
    from lineside.runtime.cuda.device import Device
    from lineside.runtime.cuda.engine import DeviceEngine
    from lineside.runtime.engines.base import Engine, EngineOptions

__all__ = ["SLOTS", "layout", "open_on_device"]

SLOTS = 2
"""Slots of a lane in ``throughput`` mode and of batches that follow each other: while one is executed, the next picture
is uploaded."""

MOST_LANES = 16
"""Lanes of a device: each holds an engine's working memory of its own."""


def open_on_device(
    bundle: Bundle,
    options: EngineOptions,
    device: Callable[[], Device],
    engine: Callable[[Device], DeviceEngine],
) -> list[Engine]:
    """Opens a model on a device.

    Args:
        bundle: A verified bundle.
        options: ``lanes`` is the number of lanes, default 1; in ``throughput`` mode default 2, so that one picture is
            uploaded while another is executed. A lane of the mode ``latency`` has two slots for `Segmenter.many`.
            ``device``, where it is given, is used and stays open.
        device: Opens the device where the caller has none.
        engine: Makes one engine on it; called once per slot.

    Returns:
        One engine per lane.

    Raises:
        EngineUnavailable: The device is not there, or the kernels of a frame cannot be built.
        EngineError: The engine refuses the model, or there is not enough memory.
        BadOption: More lanes than a device can usefully have.
    """
    lanes, slots = layout(options)
    used = options.device or device()
    owner = _Owner(None if options.device is not None else used, lanes)
    made: list[DeviceEngine] = []
    try:
        with used.current():
            for kernel in KERNELS:  # a compiler that is missing shows now, not at the first picture
                used.load(kernel)
            for _ in range(lanes * slots):
                made.append(engine(used))  # noqa: PERF401  # what was made before one fails is closed below
            return [
                DeviceRunner(made[lane * slots : (lane + 1) * slots], bundle.manifest, owner.release)
                for lane in range(lanes)
            ]
    except BaseException:
        with contextlib.ExitStack() as stack:
            if options.device is None:
                stack.callback(used.close)
            with contextlib.suppress(EngineError):  # a device that is lost can be nobody's current one
                stack.enter_context(used.current())
            for one in made:
                stack.callback(one.close)
        raise


def layout(options: EngineOptions) -> tuple[int, int]:
    """How many lanes a model has on a device, and how many slots, each with an engine, a lane has.

    Raises:
        BadOption: More lanes than a device can usefully have.
    """
    throughput = options.mode == "throughput"
    lanes = options.lanes or (SLOTS if throughput else 1)
    if lanes > MOST_LANES:
        raise BadOption(f"lanes={lanes} is more than a device can use: give at most {MOST_LANES}")
    return lanes, 1 if throughput else SLOTS


class _Owner:
    """Closes a device when its last lane has let go of it."""

    def __init__(self, device: Device | None, lanes: int) -> None:
        self._device = device
        self._left = lanes
        self._lock = threading.Lock()

    def release(self) -> None:
        with self._lock:
            self._left -= 1
            last = not self._left
        if last and self._device is not None:
            self._device.close()
