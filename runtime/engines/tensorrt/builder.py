"""From an ONNX file to a plan: network, parser, options, build.

Every network is strongly typed: which tensor is float16 or int8 is written in the ONNX file, and TensorRT neither adds
precision nor takes any away. That is the only way TensorRT 11 has, and older ones know it from 10.0 on. What is left to its
choice is TF32, which rounds the factors of a float32 product to 10 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lineside.runtime.engines.tensorrt.library import version_of
from lineside.runtime.engines.tensorrt.logs import Log
from lineside.runtime.engines.tensorrt.plugin import register_own, take_failure
from lineside.runtime.engines.tensorrt.profiles import Profile
from lineside.runtime.engines.tensorrt.progress import Phases, Tell, monitor
from lineside.runtime.errors import EngineFailed, EngineUnavailable

__all__ = ["Job", "Result", "build_plan"]

MEMORY_WORDS = (
    "out of memory", "outofmemory", "cuda_error_out_of_memory", "insufficient memory", "enough free memory", "cudaerror 2:"
)  # fmt: skip
"""What TensorRT's errors say when the GPU, or the processor on a Jetson, has no memory left."""


@dataclass(frozen=True)
class Job:
    """What is to be built.

    Attributes:
        onnx: The model, rewritten for this build.
        input: Name of its input.
        profile: Sizes of it.
        workspace: Most bytes that TensorRT may use besides weights and tensors; None: as much as there is.
        timing: Timings of earlier builds on the same GPU; empty for none.
        standalone: Whether plugins are compiled into the plan.
        full: Whether float32 is computed with all of its 23 bits: without TF32.
    """

    onnx: bytes
    input: str
    profile: Profile
    workspace: int | None = None
    timing: bytes = b""
    standalone: bool = False
    full: bool = False


@dataclass(frozen=True)
class Result:
    """What was built.

    Attributes:
        plan: The engine, serialised.
        timing: Timings of this build and those before; empty where TensorRT gives none.
    """

    plan: bytes
    timing: bytes


def build_plan(trt: Any, log: Log, job: Job, tell: Tell) -> Result:
    """Builds an engine; takes minutes.

    Args:
        trt: The module ``tensorrt``, on a machine whose driver was asked already.
        log: Where it writes.
        job: What is to be built.
        tell: Is told of the progress; what it raises ends the build and comes out of here.

    Raises:
        EngineFailed: The parser or the builder refuses, or there is not enough memory; the message has TensorRT's reason.
        EngineUnavailable: TensorRT cannot be started.
    """
    log.clear()
    register_own(trt, log)
    builder = _builder(trt, log)
    network = builder.create_network(_network_flags(trt, job.standalone))
    parser = trt.OnnxParser(network, log.logger)
    _parse(parser, job, log, trt)
    config = builder.create_builder_config()
    watch = monitor(trt, Phases(tell))
    config.progress_monitor = watch
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the audit reads it; costs a few kB in the plan
    if job.full:
        config.clear_flag(trt.BuilderFlag.TF32)
    if job.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace)
    if not job.profile.static or any(side < 0 for side in network.get_input(0).shape):
        _set_profile(builder, config, job)
    cache = _use_timings(config, job.timing)
    log.errors.clear()  # timings of another GPU are an error that is over; what comes now is the reason
    take_failure()
    plan = builder.build_serialized_network(network, config)
    if watch.stopped is not None:
        raise watch.stopped
    if plan is None:
        failure = take_failure()
        if failure is not None and not isinstance(failure, Exception):  # Ctrl-C while a plugin was at work
            raise failure
        raise EngineFailed(_refused(log, trt, str(failure) if failure else "")) from failure
    timing = b"" if cache is None else bytes(memoryview(cache.serialize()))
    return Result(plan=bytes(memoryview(plan)), timing=timing)


def _builder(trt: Any, log: Log) -> Any:
    try:
        return trt.Builder(log.logger)
    except TypeError as error:  # the binding's way to say that TensorRT gave none
        raise EngineUnavailable(
            f"TensorRT {trt.__version__} cannot make a builder ({log.reason() or 'it says nothing more'}): its package "
            "does not fit the driver or the CUDA of this machine; look at nvidia-smi and install the TensorRT for that CUDA"
        ) from error


def _network_flags(trt: Any, standalone: bool) -> int:
    """Strongly typed; with the batch in the shape, which TensorRT 10 wants to be told and 11 knows by itself."""
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    more = ["EXPLICIT_BATCH"] + (["PREFER_AOT_PYTHON_PLUGINS"] if standalone else [])
    for name in more:
        if hasattr(trt.NetworkDefinitionCreationFlag, name):
            flags |= 1 << int(getattr(trt.NetworkDefinitionCreationFlag, name))
    return flags


def _parse(parser: Any, job: Job, log: Log, trt: Any) -> None:
    if parser.parse(job.onnx):
        return
    found = [parser.get_error(index) for index in range(parser.num_errors)]
    # The first error is the reason, the others follow from it.
    told = "; ".join(" ".join(str(error.desc()).split()) for error in found[:2]) or log.reason() or "it says no more"
    hint = (
        "an operator of ours has neither plugin nor function here: try --no-plugins"
        if "plugin" in told.lower()
        else f"look at `lineside doctor BUNDLE --target trt{'.'.join(map(str, version_of(trt)[:2]))}`"
    )
    raise EngineFailed(f"TensorRT {trt.__version__} cannot read the model ({told}): {hint}")


def _use_timings(config: Any, timing: bytes) -> Any:
    """The timing cache of a build, with the timings of earlier ones unless they are of another GPU; None for none."""
    for data in (timing, b"") if timing else (b"",):
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _set_profile(builder: Any, config: Any, job: Job) -> None:
    profile = builder.create_optimization_profile()
    profile.set_shape(job.input, job.profile.least, job.profile.best, job.profile.most)
    if config.add_optimization_profile(profile) < 0:
        raise EngineFailed(f"TensorRT refuses the range of input sizes {job.profile}: choose a narrower one")


def _refused(log: Log, trt: Any, plugin: str) -> str:
    reason = (f"a plugin failed: {plugin}" if plugin else log.reason()) or "it gives no reason"
    if log.says(*MEMORY_WORDS):
        return (
            f"there was not enough memory for the build ({reason}): end other programs and the desktop, give less "
            "--workspace (in MiB, such as 512), build for a smaller --imgsz, and on a Jetson with 8 GB add swap; "
            "a build needs more memory than running does"
        )
    return (
        f"TensorRT {trt.__version__} could not build the engine ({reason}): try --no-plugins or another --precision, and "
        "look at what `lineside doctor` says of the model"
    )
