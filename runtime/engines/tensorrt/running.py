"""A plan on the GPU: deserialised once, with an execution context and memory of its own for each slot of a frame path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lineside.runtime.engines.base import match_outputs
from lineside.runtime.engines.tensorrt.builder import MEMORY_WORDS
from lineside.runtime.engines.tensorrt.keeping import immortal
from lineside.runtime.engines.tensorrt.logs import Log
from lineside.runtime.engines.tensorrt.plugin import launching, register_own, take_failure
from lineside.runtime.errors import ContractMismatch, EngineFailed, EngineUnavailable, PlanRefused

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Buffer, Device, Stream
    from lineside.runtime.engines.tensorrt.machine import Machine
    from lineside.runtime.manifest import Manifest

__all__ = ["TensorRTEngine", "deserialise"]


def deserialise(machine: Machine, log: Log, plan: bytes) -> Any:
    """An ``ICudaEngine`` out of a plan.

    Args:
        machine: Whose driver was asked already: without one TensorRT's runtime ends the program.
        log: Where TensorRT writes.
        plan: Its content; the plugins in it are registered.

    Raises:
        PlanRefused: TensorRT refuses it.
        EngineFailed: There is not enough memory.
        EngineUnavailable: TensorRT's runtime cannot be started.
    """
    log.clear()
    trt = machine.trt
    register_own(trt, log)
    try:
        runtime = trt.Runtime(log.logger)
    except TypeError as error:  # the binding's way to say that TensorRT gave none
        runtime = None
        cause: Exception | None = error
    else:
        cause = None
    if runtime is None or log.errors:
        # An object around nothing would end the program at its next call, so what was logged is taken at its word; and
        # it would end it too when it is freed.
        immortal(runtime)
        raise EngineUnavailable(
            f"TensorRT {machine.version} cannot start its runtime ({log.reason() or 'it gives no reason'}): its package "
            "does not fit the driver or the CUDA of this machine"
        ) from cause
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        if log.says(*MEMORY_WORDS):
            raise EngineFailed(
                f"there is not enough GPU memory for the engine ({log.reason()}): end other programs, or choose fewer lanes"
            )
        raise PlanRefused(
            f"TensorRT {machine.version} refuses the plan ({log.reason() or 'it gives no reason'}): build it again with "
            "`lineside build --fresh`"
        )
    return engine


class TensorRTEngine:
    """One slot: an execution context with an input and outputs at fixed addresses.

    A dynamic engine executes its whole batch too: a change of the shape would have to be outside of every capture.

    Args:
        machine: Where.
        engine: An ``ICudaEngine``; slots share it.
        manifest: Contracts of the model.
        log: Where TensorRT writes.

    Attributes:
        name: ``tensorrt``.
        device: The GPU.
        input_address: Begin of the input.
        output_addresses: Begin of each output, in the order of the head contract.
        output_shapes: Shape of each output, with the batch.

    Raises:
        ContractMismatch: The engine's tensors do not fit the manifest.
        EngineFailed: There is not enough memory.
    """

    name = "tensorrt"

    def __init__(self, machine: Machine, engine: Any, manifest: Manifest, log: Log) -> None:
        self.device: Device = machine.device
        self._log = log
        self._engine = engine
        self._held: list[Buffer] = []
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineFailed(
                f"there is not enough GPU memory for another lane ({log.reason() or 'TensorRT gives no reason'}): choose "
                "fewer lanes, or end other programs"
            )
        try:
            self._open(machine.trt, manifest)
        except BaseException:
            self.close()
            raise

    def _open(self, trt: Any, manifest: Manifest) -> None:
        """Checks every tensor and gives each an address."""
        engine, context = self._engine, self._context
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        wrong = [name for name in names if engine.get_tensor_dtype(name) != trt.float32]
        if inputs != [manifest.input.name] or wrong:
            raise ContractMismatch(
                f"the engine has the inputs {', '.join(inputs)} and its manifest says {manifest.input.name}"
                + (f"; {wrong[0]} is {engine.get_tensor_dtype(wrong[0])}, not float32" if wrong else "")
                + ": the engine belongs to another model; build it again"
            )
        self._input = inputs[0]
        self._shape = manifest.input.shape
        dynamic = any(side < 0 for side in engine.get_tensor_shape(self._input))
        if dynamic:
            if not context.set_input_shape(self._input, self._shape):
                raise EngineFailed(
                    f"the engine was not built for an input of {self._shape}: build it for that size with --from and --to"
                )
        elif tuple(engine.get_tensor_shape(self._input)) != self._shape:
            raise ContractMismatch(
                f"the engine's input is {tuple(engine.get_tensor_shape(self._input))} and its manifest says {self._shape}: "
                "build it again for this size"
            )
        outputs = [name for name in names if name not in inputs]
        shapes = [(name, tuple(int(side) for side in context.get_tensor_shape(name))) for name in outputs]
        matched = match_outputs(manifest.head, manifest.input.batch, shapes)
        self.output_shapes: Sequence[tuple[int, ...]] = [shape for _, shape in matched]
        self.input_address = self._allocate(self._input, self._shape)
        self.output_addresses: Sequence[int] = [self._allocate(name, shape) for name, shape in matched]

    def warm(self, stream: Stream) -> None:
        """Runs once, so that TensorRT has set up what it sets up at a first run; as `DeviceEngine.warm`."""
        # Slots of the batch that no picture fills must hold numbers.
        self.device.fill(stream, self.input_address, 0, 4 * math.prod(self._shape))
        self.enqueue(stream)

    def enqueue(self, stream: Stream, count: int | None = None) -> None:
        """Enqueues one run; as `DeviceEngine.enqueue`."""
        if self._context is None:
            raise EngineFailed("this model is closed: load the bundle again")
        self._log.clear()
        take_failure()
        with launching(self.device):
            done = self._context.execute_async_v3(stream.handle)
        if not done:
            cause = take_failure()
            reason = str(cause) if cause else self._log.reason() or "it gives no reason"
            raise EngineFailed(
                f"TensorRT could not run the engine ({reason}): load the bundle again, and build the engine again if it "
                "comes back"
            ) from cause

    def close(self) -> None:
        """Frees the context, the input and the outputs; a second call does nothing."""
        self._context = None
        self._engine = None
        held, self._held = self._held, []
        for buffer in held:
            buffer.free()

    def _allocate(self, name: str, shape: tuple[int, ...]) -> int:
        """Memory for a tensor."""
        buffer = self.device.allocate(4 * math.prod(shape))
        self._held.append(buffer)
        if not self._context.set_tensor_address(name, buffer.address):
            raise EngineFailed(
                f"TensorRT refuses the memory for {name} ({self._log.reason() or 'it gives no reason'}): build the engine again"
            )
        return buffer.address
