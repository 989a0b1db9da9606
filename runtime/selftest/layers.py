"""What each layer of a TensorRT engine takes, as its own profiler tells it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lineside.runtime.errors import EngineFailed
from lineside.runtime.ops.table import find_device_op

if TYPE_CHECKING:
    from lineside.runtime.selftest.subject import Subject

__all__ = ["layer_times"]

WARM_UP = 5


def layer_times(subject: Subject, runs: int = 50) -> dict[str, list[float]]:
    """Runs the engine with a profiler, outside of any graph; the sum of the layers is more than a captured run takes.

    Args:
        subject: What is tested, with an engine that was built.
        runs: Runs that are told of.

    Returns:
        Milliseconds of each layer, run by run, in the order in which they are executed.

    Raises:
        EngineError: There is no engine, or it refuses.
    """
    from lineside.runtime.engines.tensorrt.finding import find_and_read
    from lineside.runtime.engines.tensorrt.logs import open_log
    from lineside.runtime.engines.tensorrt.machine import open_machine
    from lineside.runtime.engines.tensorrt.plugin import register_plugins
    from lineside.runtime.engines.tensorrt.running import deserialise

    machine = open_machine(subject.device)
    trt, log = machine.trt, open_log(machine.trt)
    stored, plan = find_and_read(subject.bundle, machine, subject.variant)
    ops = [op for name in stored.sidecar.kernels if (op := find_device_op(name)) is not None]
    found: dict[str, list[float]] = {}

    profiler, device = _profiler(trt, found), subject.device
    with device.current():
        register_plugins(trt, ops, device)
        engine = deserialise(machine, log, plan)
        context = engine.create_execution_context()
        stream, held = device.stream(), []
        try:
            for name, shape in _tensors(subject, engine, context):
                held.append(device.allocate(4 * math.prod(shape)))
                device.fill(stream, held[-1], 0, held[-1].nbytes)
                context.set_tensor_address(name, held[-1].address)
            context.profiler = profiler
            for run in range(WARM_UP + runs):
                if run == WARM_UP:
                    found.clear()
                if not context.execute_async_v3(stream.handle):
                    raise EngineFailed(f"TensorRT could not run the engine with its profiler ({log.reason()})")
                device.synchronize(stream)
        finally:
            for buffer in held:
                buffer.free()
    return found


def _profiler(trt: Any, found: dict[str, list[float]]) -> Any:
    """What TensorRT tells the times of layers to."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            found.setdefault(layer_name, []).append(ms)

    return Profiler()


def _tensors(subject: Subject, engine: Any, context: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of input and outputs; a dynamic engine is told the size of the input first."""
    wanted = subject.bundle.manifest.input
    if any(side < 0 for side in engine.get_tensor_shape(wanted.name)):
        context.set_input_shape(wanted.name, wanted.shape)
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    shapes = [wanted.shape if name == wanted.name else tuple(context.get_tensor_shape(name)) for name in names]
    return [(name, tuple(int(side) for side in shape)) for name, shape in zip(names, shapes, strict=True)]
