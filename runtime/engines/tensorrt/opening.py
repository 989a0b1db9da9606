"""Loads a bundle's engine: the one that was built for this machine, or what is to be done where there is none."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

from lineside.runtime.bundle import Bundle
from lineside.runtime.cuda.opening import layout, open_on_device
from lineside.runtime.engines.base import Engine, EngineOptions
from lineside.runtime.engines.tensorrt.building import BuildOptions, build_engine, wanted_of
from lineside.runtime.engines.tensorrt.logs import open_log
from lineside.runtime.engines.tensorrt.machine import Machine, open_machine
from lineside.runtime.engines.tensorrt.models import models
from lineside.runtime.engines.tensorrt.plans import Stored, list_plans, read_plan, state
from lineside.runtime.engines.tensorrt.plugin import launching, register_plugins
from lineside.runtime.engines.tensorrt.running import TensorRTEngine, deserialise
from lineside.runtime.engines.tensorrt.sidecar import differences
from lineside.runtime.errors import EngineError, EngineUnavailable
from lineside.runtime.ops.table import find_device_op

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Device

__all__ = ["find_and_read", "find_plan", "open_engines", "open_instead"]


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


def find_plan(bundle: Bundle, machine: Machine, named: str | None = None) -> Stored:
    """The newest engine of a bundle that fits a machine.

    Args:
        bundle: A verified bundle.
        machine: Where it is to run.
        named: ``fp32`` or the name of a variant, where only that will do.

    Raises:
        EngineUnavailable: There is none; of the one that is nearest each field that differs is named.
    """
    found, wrong = list_plans(bundle)
    wanted = wanted_of(bundle, machine, named)
    looked = [(differences(stored.sidecar, wanted), stored) for stored in found]
    fitting = next((stored for differing, stored in looked if not differing), None)
    if fitting is not None:
        return fitting
    if not looked:
        more = f" ({wrong[0]})" if wrong else ""
        raise EngineUnavailable(
            f"no TensorRT engine was built for {bundle.path} on this machine{more}: run `lineside build {bundle.path}`"
        )
    differing, nearest = min(looked, key=lambda pair: len(pair[0]))
    raise EngineUnavailable(
        f"the engine {nearest.path} does not fit this machine: {'; '.join(differing)}. Build it here with "
        f"`lineside build {bundle.path}`, or choose engine='tensorrt:rebuild' or 'tensorrt:fallback'"
    )


def find_and_read(bundle: Bundle, machine: Machine, named: str | None = None) -> tuple[Stored, bytes]:
    """The newest engine of a bundle that fits a machine, and its plan; as `find_plan` and `read_plan`.

    Another process may put a newer one in its place meanwhile, and then that one is taken.

    Args:
        bundle: A verified bundle.
        machine: Of this process.
        named: Precision that was asked for; None for any.

    Raises:
        EngineUnavailable: There is none.
        EngineFailed: It is damaged.
    """
    while True:
        before = state(bundle)
        try:
            stored = find_plan(bundle, machine, named)
            return stored, read_plan(stored)
        except EngineError:
            if state(bundle) == before:
                raise


def _open(bundle: Bundle, options: EngineOptions) -> list[Engine]:
    layout(options)  # more lanes than there can be are no reason to build first
    machine = open_machine(options.device)
    try:
        stored, plan, why = _stored(bundle, machine, options)
        log = open_log(machine.trt)
        ops = tuple(op for name in stored.sidecar.kernels if (op := find_device_op(name)) is not None)
        with machine.device.current(), launching(machine.device):
            register_plugins(machine.trt, ops, machine.device)
            engine = deserialise(machine, log, plan)
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


def _stored(bundle: Bundle, machine: Machine, options: EngineOptions) -> tuple[Stored, bytes, str]:
    """The engine to run, its plan, and why that one."""
    try:
        return *find_and_read(bundle, machine, options.precision), "the newest engine that fits this machine"
    except EngineError as error:
        if options.on_mismatch != "rebuild":
            raise
        warnings.warn(f"a TensorRT engine is built now, which takes minutes: {error}", RuntimeWarning, stacklevel=2)
        known = models(bundle.manifest).values()
        precision = next((it.precision for it in known if (it.variant or it.precision) == options.precision), None)
        earlier = list_plans(bundle)[0]
        if precision is None and earlier:
            precision = earlier[0].sidecar.precision
        report = build_engine(bundle, BuildOptions(precision=precision), lambda share, note: None, machine, wait=True)
        how = "it was built now" if report.built else "another process built it meanwhile"
        return *find_and_read(bundle, machine, options.precision), f"{how}, because {error}"
