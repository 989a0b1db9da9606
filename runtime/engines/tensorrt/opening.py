"""Loads a bundle's engine: the one that was built for this machine, or what is to be done where there is none."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lineside.runtime.bundle import Bundle
from lineside.runtime.cuda.opening import layout, open_on_device
from lineside.runtime.engines.base import Engine, EngineOptions
from lineside.runtime.engines.tensorrt.building import BuildOptions, build_engine
from lineside.runtime.engines.tensorrt.finding import find_and_read
from lineside.runtime.engines.tensorrt.logs import Log, open_log
from lineside.runtime.engines.tensorrt.machine import Machine, open_machine
from lineside.runtime.engines.tensorrt.models import models
from lineside.runtime.engines.tensorrt.plans import Stored, list_plans
from lineside.runtime.engines.tensorrt.plugin import launching, register_plugins
from lineside.runtime.engines.tensorrt.running import TensorRTEngine, deserialise
from lineside.runtime.errors import EngineError, PlanRefused
from lineside.runtime.ops.table import find_device_op

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Device

__all__ = ["open_engines", "open_instead"]


def open_engines(bundle: Bundle, options: EngineOptions) -> list[Engine]:
    """Opens a bundle's engine on the GPU.

    Args:
        bundle: A verified bundle.
        options: As in `open_on_device`; ``on_mismatch`` says what happens where no engine fits this machine: ``refuse``,
            ``rebuild`` (minutes) or ``fallback`` to onnxruntime. The last two say so in a warning.

    Returns:
        One engine per lane; ``reason`` of each says what was taken and why.

    Raises:
        EngineUnavailable: There is no TensorRT, no driver, no GPU, or no engine that fits; each field that differs is named.
        EngineFailed: The engine is damaged, TensorRT refuses it, or there is not enough memory.
        ContractMismatch: The engine is of another model.
        BadOption: More lanes than a device can usefully have.
    """
    try:
        return _open(bundle, options)
    except EngineError as error:
        if options.on_mismatch != "fallback":
            raise
        return open_instead(bundle, options, str(error))


def open_instead(bundle: Bundle, options: EngineOptions, why: str) -> list[Engine]:
    """Opens onnxruntime in the place of TensorRT, and says so.

    Args:
        bundle: A verified bundle.
        options: How to execute it.
        why: What is in the way of TensorRT.
    """
    from lineside.runtime.engines import onnxruntime

    reason = f"onnxruntime runs the model on the processor, which is slower: {why}"
    warnings.warn(reason, RuntimeWarning, stacklevel=2)
    engines = onnxruntime.open_engines(bundle, replace(options, device=None))
    for engine in engines:
        engine.reason = "; ".join(filter(None, (reason, engine.reason)))
    return engines


def _open(bundle: Bundle, options: EngineOptions) -> list[Engine]:
    layout(options)  # more lanes than there can be are no reason to build first
    machine = open_machine(options.device)
    try:
        log = open_log(machine.trt)
        stored, engine, why = _found_or_built(bundle, machine, log, options)
    except BaseException:
        if options.device is None:
            machine.device.close()
        raise

    def make(device: Device) -> TensorRTEngine:
        return TensorRTEngine(machine, engine, bundle.manifest, log)

    engines = open_on_device(bundle, options, lambda: machine.device, make)
    for one in engines:
        one.reason = f"{why}: {stored.path}, {stored.sidecar.precision}, TensorRT {machine.version}, {machine.gpu}"
    return engines


def _found_or_built(bundle: Bundle, machine: Machine, log: Log, options: EngineOptions) -> tuple[Stored, Any, str]:
    """Where the plan to run lies, the engine in it, and why that one."""
    stored = None
    try:
        stored, plan = find_and_read(bundle, machine, options.precision)
        return stored, _engine_in(machine, log, stored, plan), "the newest engine that fits this machine"
    except EngineError as error:
        if options.on_mismatch != "rebuild" or not (stored is None or isinstance(error, PlanRefused)):
            raise  # a new one would not start either
        how = _rebuild(bundle, machine, options, error, stored)
    stored, plan = find_and_read(bundle, machine, options.precision)
    return stored, _engine_in(machine, log, stored, plan), how


def _engine_in(machine: Machine, log: Log, stored: Stored, plan: bytes) -> Any:
    """The engine in a plan, with its plugins registered."""
    ops = tuple(op for name in stored.sidecar.kernels if (op := find_device_op(name)) is not None)
    with machine.device.current(), launching(machine.device):
        register_plugins(machine.trt, ops, machine.device)
        return deserialise(machine, log, plan)


def _rebuild(
    bundle: Bundle, machine: Machine, options: EngineOptions, error: EngineError, refused: Stored | None
) -> str:
    """Builds an engine where none will do, or waits for the process that does already; what happened, in words."""
    warnings.warn(f"a TensorRT engine is built now, which takes minutes: {error}", RuntimeWarning, stacklevel=2)
    known = models(bundle.manifest).values()
    precision = next((it.precision for it in known if (it.variant or it.precision) == options.precision), None)
    earlier = [refused] if refused is not None else list_plans(bundle)[0]
    if precision is None and earlier:
        precision = earlier[0].sidecar.precision
    wanted = BuildOptions(precision=precision, without="" if refused is None else refused.sidecar.plan_sha256)
    report = build_engine(bundle, wanted, lambda share, note: None, machine, wait=True)
    return f"{'it was built now' if report.built else 'another process built it meanwhile'}, because {error}"
