"""Our operators as plugins that are compiled into the plan, so that it runs without Python (TensorRT 10.9 and newer).

TensorRT asks once per layer for the kernel as PTX and keeps it in the plan, with the size of its grid and the whole
numbers that it takes between inputs and outputs. They are computed from the shapes, which must not change. What
TensorRT does with finished code instead of PTX is not known: its bindings hand any bytes on, its documents speak of PTX.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lineside.runtime.engines.tensorrt.rewrite import AHEAD_NAMESPACE
from lineside.runtime.errors import EngineFailed, EngineUnavailable

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Device
    from lineside.runtime.kernels.kernel import Kernel
    from lineside.runtime.ops.op import DeviceOp

__all__ = ["OLDEST_AHEAD", "check_readable", "register_ahead"]

OLDEST_AHEAD = (10, 9)

_REGISTERED: set[tuple[int, str]] = set()


def check_readable(device: Device, ops: Sequence[DeviceOp]) -> None:
    """Refuses to put PTX into a plan that the driver of this very machine cannot read.

    Args:
        device: The GPU that builds, and is to run the plan.
        ops: Operators with a kernel.

    Raises:
        EngineUnavailable: NVRTC is newer than the driver, or not there.
    """
    kernels = [kernel for op in ops if (kernel := op.device_kernel(False)) is not None]
    if not all(device.reads(kernel) for kernel in kernels[:1]):  # one compiler makes all of them
        raise EngineUnavailable(
            "--standalone puts the kernels of operators into the plan as PTX, and the NVIDIA driver is too old to read "
            "what this NVRTC makes: update the driver (JetPack on a Jetson), install the NVRTC of the driver's CUDA "
            "(docs/tensorrt.md), or leave --standalone out, where the kernels may be finished without the driver"
        )


def register_ahead(trt: Any, ops: Sequence[DeviceOp], arch: str) -> None:
    """Makes operators known to TensorRT's registry, each once per process.

    Args:
        trt: The module ``tensorrt``, 10.9 or newer.
        ops: Operators with a kernel.
        arch: What their PTX is compiled for, such as ``compute_87``.
    """
    with _away_from_stdout():  # it announces itself there, where results are printed
        plugin = importlib.import_module("tensorrt.plugin")
    for op in ops:
        if (id(trt), op.name) not in _REGISTERED:
            _register(trt, plugin, op, arch)
            _REGISTERED.add((id(trt), op.name))


def _register(trt: Any, plugin: Any, op: DeviceOp, arch: str) -> None:
    name = f"{AHEAD_NAMESPACE}::{op.name}"
    tensor = plugin.TensorDesc
    several = tuple.__class_getitem__((tensor,) * len(op.outputs))

    def describe(*inputs: Any) -> Any:
        kind = next(
            (entry.dtype for own, entry in zip(op.inputs, inputs, strict=True) if own in op.floating), trt.float32
        )
        found = []
        for own, sides in zip(op.outputs, op.shapes(*(tuple(entry.shape_expr) for entry in inputs)), strict=True):
            entry = inputs[0].like()
            entry.dtype = trt.int32 if own in op.integers else kind if own in op.floating else trt.float32
            entry.shape_expr = plugin.ShapeExprs.from_tuple(tuple(sides))
            found.append(entry)
        return tuple(found)

    def tune(*given: Any) -> Any:
        own = [*op.inputs, *op.outputs]
        return [
            plugin.AutoTuneCombination(
                ", ".join("INT32" if it in op.integers else kind if it in op.floating else "FP32" for it in own),
                "LINEAR",
            )
            for kind in ("FP32", "FP16")
        ]

    def compile_kernel(*given: Any) -> Any:
        from lineside.runtime.kernels.nvrtc import compile_ptx

        inputs = given[: len(op.inputs)]
        half = any(
            entry.dtype == trt.float16 for own, entry in zip(op.inputs, inputs, strict=True) if own in op.floating
        )
        shapes = [tuple(int(side) for side in entry.shape) for entry in inputs]
        launch = op.launch(shapes, [0] * (len(op.inputs) + len(op.outputs)), half)
        kernel = launch.kernel
        _check_order(op, kernel)
        parameters = plugin.KernelLaunchParams()
        for axis, blocks, threads in zip("xyz", launch.grid, launch.block, strict=True):
            setattr(parameters, f"grid_{axis}", plugin.SymInt32(blocks))
            setattr(parameters, f"block_{axis}", plugin.SymInt32(threads))
        parameters.shared_mem = plugin.SymInt32(launch.shared)
        numbers = launch.arguments[len(op.inputs) : len(launch.arguments) - len(op.outputs)]
        extra = plugin.SymIntExprs.from_tuple(tuple(plugin.SymInt32(int(number)) for number in numbers))
        return kernel.name, bytes(compile_ptx(kernel, arch)), parameters, extra

    _sign(describe, dict.fromkeys(op.inputs, tensor), several)
    _sign(tune, {**dict.fromkeys(op.inputs, tensor), "outputs": several}, list[plugin.AutoTuneCombination])
    answer = tuple[str, bytes, plugin.KernelLaunchParams, plugin.SymIntExprs]
    _sign(compile_kernel, {**dict.fromkeys(op.inputs, tensor), "outputs": several, "tactic": int}, answer)
    plugin.register(name)(describe)
    plugin.autotune(name)(tune)
    plugin.aot_impl(name)(compile_kernel)


@contextmanager
def _away_from_stdout() -> Iterator[None]:
    """What libraries print to stdout goes to stderr while the block runs."""
    try:
        kept = os.dup(1)
    except OSError:  # it is closed, so nothing gets there
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _check_order(op: DeviceOp, kernel: Kernel) -> None:
    """A kernel that takes its parameters in another order than TensorRT hands them would read nonsense."""
    kinds = [parameter.kind for parameter in kernel.parameters]
    before, behind = len(op.inputs), len(kinds) - len(op.outputs)
    if kinds != ["pointer"] * before + ["int"] * (behind - before) + ["pointer"] * len(op.outputs):
        raise EngineFailed(
            f"the kernel {kernel.name} does not take inputs, whole numbers and outputs in this order, so it cannot be "
            "compiled into a plan: build without --standalone"
        )


def _sign(function: Any, parameters: dict[str, Any], answer: Any) -> None:
    """Gives a function the signature by which TensorRT knows what it takes and returns."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature(
        [inspect.Parameter(name, kind, annotation=annotation) for name, annotation in parameters.items()],
        return_annotation=answer,
    )
