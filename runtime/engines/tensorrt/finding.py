"""Which of a bundle's engines fits a machine."""

from __future__ import annotations

from lineside.runtime.bundle import Bundle
from lineside.runtime.engines.tensorrt.machine import Machine
from lineside.runtime.engines.tensorrt.models import models
from lineside.runtime.engines.tensorrt.plans import Stored, list_plans, read_plan, state
from lineside.runtime.engines.tensorrt.rewrite import kernels_of
from lineside.runtime.engines.tensorrt.sidecar import Wanted, differences
from lineside.runtime.errors import EngineError, EngineUnavailable
from lineside.runtime.ops.table import find_device_op

__all__ = ["find_and_read", "find_plan", "wanted_of"]


def wanted_of(bundle: Bundle, machine: Machine, named: str | None = None) -> Wanted:
    """What a plan must be to run a bundle on a machine.

    Args:
        bundle: A verified bundle.
        machine: Where.
        named: ``fp32`` or the name of a variant, where only that will do.
    """
    ops = tuple(op for name in bundle.manifest.custom_ops if (op := find_device_op(name)) is not None)
    return Wanted(
        tensorrt=machine.version,
        sm=machine.sm,
        platform=machine.platform,
        onnx={
            precision: bundle.manifest.files[model.file]
            for precision, model in models(bundle.manifest).items()
            if named in (None, model.variant or precision)
        },
        kernels=kernels_of(ops),
        shape=bundle.manifest.input.shape,
    )


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
