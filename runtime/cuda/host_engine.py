"""The engine ``host``: the frame path of a GPU on the processor, with onnxruntime or a recording in the engine's place."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lineside.runtime.cuda.host import HostDevice
from lineside.runtime.cuda.opening import layout, open_on_device
from lineside.runtime.engines.base import Array, Engine, EngineOptions
from lineside.runtime.errors import BadOption, EngineFailed

if TYPE_CHECKING:
    from lineside.runtime.bundle import Bundle
    from lineside.runtime.cuda.device import Device, Stream
    from lineside.runtime.cuda.host_memory import HostBuffer

__all__ = ["HostEngine", "open_engines"]


class _Shaped(Engine, Protocol):
    """An engine of arrays that tells the shapes of its outputs.

    Attributes:
        output_shapes: In the order of the head contract.
    """

    @property
    def output_shapes(self) -> list[tuple[int, ...]]: ...


class HostEngine:
    """An engine of arrays, executed in a stream of a host device on that device's memory.

    Args:
        device: Where.
        engine: What executes; owned from now on.
        static: Whether it always executes the whole batch.

    Attributes:
        name: ``host``.
        device: As given.
        input_address: Begin of its input.
        output_addresses: Begin of each output.
        output_shapes: Shape of each output.
    """

    name = "host"

    def __init__(self, device: HostDevice, engine: _Shaped, static: bool) -> None:
        self.device: Device = device
        self._host = device
        self._engine: _Shaped | None = engine
        self._static = static
        self._held: list[HostBuffer] = []
        try:
            ((self._input, buffer),) = engine.buffers().items()
            self.output_shapes = engine.output_shapes
            self._given = self._allocate(buffer.shape)
            self._outputs = [self._allocate(shape) for shape in self.output_shapes]
        except BaseException:
            self.close()
            raise
        self.input_address = self._held[0].address
        self.output_addresses = [held.address for held in self._held[1:]]

    def warm(self, stream: Stream) -> None:
        """Nothing to do: what it needs is there, and a recording begins with the first picture."""

    def enqueue(self, stream: Stream, count: int | None = None) -> None:
        """Enqueues one run; as `DeviceEngine.enqueue`."""
        if self._engine is None:
            raise EngineFailed("this model is closed: load the bundle again")
        pictures = len(self._given) if self._static or count is None else count
        self._host.call(stream, "the engine", lambda: self._run(pictures))

    def close(self) -> None:
        """Closes the engine, and frees its input and outputs."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        engine.close()
        for held in self._held:
            held.free()

    def _allocate(self, shape: tuple[int, ...]) -> Array:
        """A block of the device's memory, seen as the tensor that lies in it."""
        held = self._host.allocate(4 * int(np.prod(shape)))
        self._held.append(held)
        inside = held.inside().view(np.float32).reshape(shape)
        inside[...] = 0  # slots of a batch that no picture fills must hold numbers
        return inside

    def _run(self, pictures: int) -> None:
        if self._engine is None:
            raise EngineFailed("this model is closed: load the bundle again")
        found = self._engine.infer({self._input: self._given[:pictures]})
        for output, into in zip(found, self._outputs, strict=True):
            into[:pictures] = output


def open_engines(bundle: Bundle, options: EngineOptions) -> list[Engine]:
    """Opens a bundle on a host device.

    Args:
        bundle: A verified bundle.
        options: As in `open_on_device`. ``recording`` is replayed, else onnxruntime executes the portable model on
            ``threads`` threads.

    Returns:
        One engine per lane.

    Raises:
        EngineUnavailable: onnxruntime, the compiler or the recording is not there.
        EngineFailed: onnxruntime refuses the model, or there is not enough memory.
        ContractMismatch: The recording is of another model.
        BadOption: ``device`` is no host device.
    """
    opened: list[Engine] = []

    def make(device: Device) -> HostEngine:
        if not isinstance(device, HostDevice):
            raise BadOption(f"the engine 'host' executes on a HostDevice, not on {type(device).__name__}: give one")
        if not opened:
            opened.extend(_engines_of_arrays(bundle, options))
        engine = opened.pop()
        return HostEngine(device, engine, static=not bundle.manifest.input.dynamic)  # type: ignore[arg-type]

    try:
        return open_on_device(bundle, options, HostDevice, make)
    except BaseException:
        for engine in opened:  # those that no slot has got
            engine.close()
        raise


def _engines_of_arrays(bundle: Bundle, options: EngineOptions) -> list[Engine]:
    """One for each slot of each lane; they share weights and threads, and take turns."""
    from lineside.runtime.engines import onnxruntime, recorded

    many = replace(options, mode="latency", lanes=math.prod(layout(options)))
    if options.recording is not None:
        return recorded.open_engines(bundle, many)
    return onnxruntime.open_engines(bundle, many)
