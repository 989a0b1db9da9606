"""The whole of a build: from a bundle to a plan beside it, audited."""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from lineside.runtime import cache
from lineside.runtime.bundle import Bundle
from lineside.runtime.engines.tensorrt.ahead import OLDEST_AHEAD, check_readable, register_ahead
from lineside.runtime.engines.tensorrt.audit import Audit, audit, check_audit
from lineside.runtime.engines.tensorrt.builder import Job, build_plan
from lineside.runtime.engines.tensorrt.finding import wanted_of
from lineside.runtime.engines.tensorrt.library import version_of
from lineside.runtime.engines.tensorrt.logs import Log, open_log
from lineside.runtime.engines.tensorrt.machine import Machine, open_machine
from lineside.runtime.engines.tensorrt.memory import workspace_for
from lineside.runtime.engines.tensorrt.models import Model, choose_model
from lineside.runtime.engines.tensorrt.plans import Stored, building, list_plans, now, prefer, read_plan, store_plan
from lineside.runtime.engines.tensorrt.plugin import launching, register_plugins
from lineside.runtime.engines.tensorrt.profiles import Profile, profile_for
from lineside.runtime.engines.tensorrt.progress import Tell
from lineside.runtime.engines.tensorrt.rewrite import Rewritten, kernels_of, rewrite
from lineside.runtime.engines.tensorrt.running import deserialise
from lineside.runtime.engines.tensorrt.sidecar import Precision, Sidecar, differences
from lineside.runtime.errors import BadOption, EngineFailed, EngineUnavailable

if TYPE_CHECKING:
    from lineside.runtime.ops.op import DeviceOp

__all__ = ["BuildOptions", "BuildReport", "build_engine"]


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``; None: see `lineside.runtime.engines.tensorrt.models.choose_model`.
        workspace: Most MiB that TensorRT may use besides weights and tensors; None: as much as there is, and half of what
            is free where GPU and processor share one memory.
        plugins: Whether operators of ours run as plugins; else as their functions.
        standalone: Whether the plan shall run without Python.
        smallest: Least height and width, of a dynamic bundle.
        largest: Greatest height and width, of a dynamic bundle.
        least: Least share of the convolution work in that precision; None for the usual one.
        fresh: Whether to build although there is such an engine already.
        without: Hash of a plan that will not do, although it is such an engine.
    """

    precision: Precision | None = None
    workspace: int | None = None
    plugins: bool = True
    standalone: bool = False
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    least: float | None = None
    fresh: bool = False
    without: str = ""


class BuildReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was built.

    Attributes:
        bundle: Path of the bundle.
        engine: Path of the plan.
        built: Whether it was built now; it was there already otherwise.
        tensorrt: Version of TensorRT.
        gpu: Name of the GPU.
        sm: Its compute capability.
        precision: Arithmetic of the model.
        variant: Name of the bundle's variant; empty for its portable model.
        reason: Why that model.
        profile: Sizes of the input, in words.
        plugins: Operators of ours that are plugins.
        native: Operators of ours that became a standard one.
        bodies: Operators of ours that run as their function, slower.
        standalone: Whether the plan runs without Python.
        megabytes: Size of the plan.
        seconds: What the build took.
        audit: What the layers of the plan say of their precision.
        warnings: What TensorRT warned of, the last ones.
    """

    bundle: str
    engine: str
    built: bool
    tensorrt: str
    gpu: str
    sm: str
    precision: Precision
    variant: str
    reason: str
    profile: str
    plugins: tuple[str, ...]
    native: tuple[str, ...]
    bodies: tuple[str, ...]
    standalone: bool
    megabytes: float
    seconds: float
    audit: Audit
    warnings: tuple[str, ...] = ()


def build_engine(
    bundle: Bundle, options: BuildOptions, tell: Tell, machine: Machine | None = None, wait: bool = False
) -> BuildReport:
    """Builds a bundle's engine for this machine and writes it beside the bundle.

    Args:
        bundle: A verified bundle, at the size that the engine is tuned for.
        options: How.
        tell: Is told of the progress; what it raises ends the build, and nothing is left behind.
        machine: Where; this machine when None.
        wait: Whether to wait for another process that builds beside the same bundle; its engine is taken where it will do.

    Raises:
        EngineUnavailable: There is no TensorRT, no driver or no GPU.
        EngineFailed: TensorRT refuses, there is not enough memory, the engine cannot be written, or another process builds.
        BadOption: The bundle has no such model, or cannot be built so.
        CheckFailed: The engine computes in another precision; it was not kept.
    """
    model = choose_model(bundle.manifest, options.precision)
    profile = profile_for(bundle.manifest, options.smallest, options.largest)
    machine = machine or _open_machine()
    changed = rewrite(
        bundle.read(model.file), version_of(machine.trt), plugins=options.plugins, standalone=options.standalone
    )
    _check_standalone(changed, options, profile, machine)
    waiting = (lambda: tell(0.0, "another process builds beside this bundle")) if wait else None
    with building(bundle, waiting) as folder:
        there = None if options.fresh else _existing(bundle, machine, model, profile, changed, options)
        if there is None:
            stored, warnings = _build(bundle, options, tell, machine, model, profile, changed, folder)
        else:
            stored, warnings = prefer(there), ()
    return _report(bundle, machine, model, changed, stored, there is None, warnings)


def _open_machine() -> Machine:
    """This machine; where it cannot build, another engine is no remedy."""
    try:
        return open_machine()
    except EngineUnavailable as error:
        raise EngineUnavailable(str(error).replace(", or choose engine='onnxruntime'", "")) from error


def _build(
    bundle: Bundle,
    options: BuildOptions,
    tell: Tell,
    machine: Machine,
    model: Model,
    profile: Profile,
    changed: Rewritten,
    folder: Any,
) -> tuple[Stored, tuple[str, ...]]:
    """Builds, audits and writes."""
    begun = time.monotonic()
    log = open_log(machine.trt)
    _register(machine, changed.plugins, options.standalone)
    timings = f"tensorrt/timing-{machine.version}-sm{machine.sm}-{machine.platform}.cache"
    limit = workspace_for(machine.device.integrated, options.workspace)
    job = Job(
        onnx=changed.onnx,
        input=bundle.manifest.input.name,
        profile=profile,
        workspace=None if limit is None else limit << 20,
        timing=cache.fetch(timings) or b"",
        standalone=options.standalone,
        full=model.precision == "fp32",  # who gave other precisions has the rest rounded as TensorRT likes
    )
    with machine.device.current(), launching(machine.device):
        built = build_plan(machine.trt, log, job, tell)
        warned = tuple(log.warnings)
        found = audit(_inspect(machine, log, built.plan, job), model.precision, options.least, model.work)
    if built.timing:
        cache.keep(timings, built.timing)
    check_audit(found, model.precision)
    sidecar = Sidecar(
        tensorrt=machine.version,
        sm=machine.sm,
        gpu=machine.gpu,
        platform=machine.platform,
        precision=model.precision,
        variant=model.variant,
        onnx_sha256=bundle.manifest.files[model.file],
        kernels=kernels_of(changed.plugins),
        profile=profile,
        standalone=options.standalone or not changed.plugins,
        workspace=options.workspace,
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        seconds=round(time.monotonic() - begun, 1),
        built=now(),
        audit=found,
    )
    stored = store_plan(folder, built.plan, sidecar)
    tell(1.0, "written")
    return stored, warned


def _register(machine: Machine, ops: tuple[DeviceOp, ...], standalone: bool) -> None:
    if standalone:
        register_ahead(machine.trt, ops, machine.device.arch)
    else:
        register_plugins(machine.trt, ops, machine.device)


def _inspect(machine: Machine, log: Log, plan: bytes, job: Job) -> str:
    """What the engine inspector says of a plan, as JSON; it knows the sides of a dynamic engine's tensors by a context."""
    engine = deserialise(machine, log, plan)
    inspector = engine.create_engine_inspector()
    if any(side < 0 for side in engine.get_tensor_shape(job.input)):  # a range of one shape is dynamic too
        context = engine.create_execution_context()
        if context is not None and context.set_input_shape(job.input, job.profile.best):
            inspector.execution_context = context
    return str(inspector.get_engine_information(machine.trt.LayerInformationFormat.JSON))


def _check_standalone(changed: Rewritten, options: BuildOptions, profile: Profile, machine: Machine) -> None:
    if not options.standalone or not changed.plugins:
        return
    if version_of(machine.trt) < OLDEST_AHEAD:
        raise BadOption(
            f"--standalone needs TensorRT {'.'.join(map(str, OLDEST_AHEAD))} for this model, which has operators of its "
            f"own, and {machine.version} is installed: leave it out, or build with --no-plugins, which is slower"
        )
    if not profile.static:
        raise BadOption(
            "--standalone compiles operators for one input size, and this engine would take several: leave --from and --to "
            "out and export the bundle without --dynamic, or build with --no-plugins"
        )
    check_readable(machine.device, changed.plugins)


def _existing(
    bundle: Bundle, machine: Machine, model: Model, profile: Profile, changed: Rewritten, options: BuildOptions
) -> Stored | None:
    """An engine that is there already and is what would be built."""
    wanted, kernels = wanted_of(bundle, machine), kernels_of(changed.plugins)
    for stored in list_plans(bundle)[0]:
        own = stored.sidecar
        if (
            own.plan_sha256 != options.without
            and not differences(own, wanted)
            and (own.precision, own.profile, own.kernels, own.workspace)
            == (model.precision, profile, kernels, options.workspace)
            and own.standalone == (options.standalone or not changed.plugins)
        ):
            with contextlib.suppress(EngineFailed):  # a damaged one is not there
                read_plan(stored)
                return stored
    return None


def _report(
    bundle: Bundle,
    machine: Machine,
    model: Model,
    changed: Rewritten,
    stored: Stored,
    built: bool,
    warnings: tuple[str, ...],
) -> BuildReport:
    own = stored.sidecar
    return BuildReport(
        bundle=str(bundle.path),
        engine=str(stored.path),
        built=built,
        tensorrt=machine.version,
        gpu=machine.gpu,
        sm=machine.sm,
        precision=own.precision,
        variant=own.variant,
        reason=model.reason,
        profile=str(own.profile),
        plugins=tuple(op.name for op in changed.plugins),
        native=changed.native,
        bodies=changed.bodies,
        standalone=own.standalone,
        megabytes=round(stored.path.stat().st_size / 1e6, 2),
        seconds=own.seconds,
        audit=own.audit,
        warnings=warnings,
    )
