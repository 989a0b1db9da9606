"""Engines on a device, seen as an engine of arrays; and the way to the lane of the whole frame."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lineside.runtime.engines.base import Array
from lineside.runtime.errors import EngineError, EngineFailed

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Buffer, Device
    from lineside.runtime.cuda.engine import DeviceEngine
    from lineside.runtime.cuda.lane import DeviceLane
    from lineside.runtime.manifest import Manifest

__all__ = ["DeviceRunner"]


class DeviceRunner:
    """One lane's engines on a device, one per slot of its frame path.

    It is an engine itself: it copies a prepared input to the first of them and copies its outputs back, for golden
    files and everything else that looks at raw outputs. `lane` gives the path on which only detections come back.

    Args:
        engines: One per slot; owned from now on.
        manifest: What the bundle says about itself.
        release: Called once, when everything is closed.

    Attributes:
        name: Name in the table of engines.
        device: What they execute on.
        reason: Why this engine runs the model, where that was not as asked for; else empty.
    """

    reason = ""

    def __init__(
        self, engines: Sequence[DeviceEngine], manifest: Manifest, release: Callable[[], None] = lambda: None
    ) -> None:
        self.name = engines[0].name
        self.device: Device = engines[0].device
        self.engines = tuple(engines)
        self.manifest = manifest
        self._release = release
        self._closed = False
        self._held: list[Buffer] = []
        self._buffer: Array | None = None
        self._outputs: list[Array] = []
        self._stream = self.device.stream()

    def lane(self) -> DeviceLane:
        """The lane of the whole frame, which owns this."""
        from lineside.runtime.cuda.lane import DeviceLane

        return DeviceLane(self)

    def buffers(self) -> dict[str, Array]:
        """Static input buffers by tensor name, in pinned memory."""
        return {self.manifest.input.name: self._arrays()[0]}

    def infer(self, inputs: Mapping[str, Array], begun: Callable[[], None] | None = None) -> list[Array]:
        """Executes the model once; the next call overwrites what it returns.

        Args:
            inputs: As in `Engine.infer`.
            begun: Called at once.

        Raises:
            EngineFailed: The engine refuses, or is closed.
            DeviceLost: The device has stopped working.
        """
        with self.device.current():
            buffer, outputs = self._arrays()
            given = inputs[self.manifest.input.name]
            if given is not buffer:
                np.copyto(buffer[: len(given)], given)
            if begun is not None:
                begun()
            engine, stream, batch = self.engines[0], self._stream, self.manifest.input.batch
            held = iter(self._held)
            self.device.copy(stream, engine.input_address, next(held), buffer.nbytes // batch * len(given))
            engine.enqueue(stream, len(given))
            for address, output, source in zip(engine.output_addresses, outputs, held, strict=True):
                self.device.copy(stream, source, address, output.nbytes)
            self.device.synchronize(stream)
            return [output[: len(given)] for output in outputs]

    def close(self) -> None:
        """Closes the engines; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._buffer, self._outputs = None, []
        with contextlib.ExitStack() as stack:
            stack.callback(self._release)
            with contextlib.suppress(EngineError):  # a device that is lost can be nobody's current one
                stack.enter_context(self.device.current())
            for held in self._held:
                held.free()
            for engine in self.engines:
                stack.callback(engine.close)  # all of them, although one fails

    def _arrays(self) -> tuple[Array, list[Array]]:
        """Pinned memory for input and outputs, allocated when it is first asked for: frames do not need it."""
        if self._closed:
            raise EngineFailed("this model is closed: load the bundle again")
        if self._buffer is None:
            with self.device.current():
                shapes = [self.manifest.input.shape, *self.engines[0].output_shapes]
                self._held = [self.device.allocate(4 * int(np.prod(shape)), "pinned") for shape in shapes]
                arrays = [
                    held.host().view(np.float32).reshape(shape) for held, shape in zip(self._held, shapes, strict=True)
                ]
                arrays[0][...] = 0
                self._buffer, self._outputs = arrays[0], arrays[1:]
        return self._buffer, self._outputs
