"""Executes a model with onnxruntime on the processor.

Settings and their reasons (measured with YOLO11n-seg on two cores): spinning threads are off, because on a shared
machine they cost more than they give; the memory pattern is off, because it holds 55 MB for 3 % of speed; one session
with N threads answers soonest, N sessions with one thread each do the most per second.

Inputs and outputs are bound once to buffers of our own, so a run allocates nothing on the Python side.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.runtime import _native, cache, hardware
from lineside.runtime.bundle import Bundle
from lineside.runtime.engines.base import Array, Engine, EngineOptions, match_outputs
from lineside.runtime.errors import ContractMismatch, EngineFailed, EngineUnavailable
from lineside.runtime.manifest import Manifest
from lineside.runtime.variants import with_variant

__all__ = ["LATENCY_LANES", "OnnxRuntimeEngine", "open_engines", "run_once"]

LATENCY_LANES = 1
"""In ``latency`` mode the session has all cores: a second lane would only take them from it, and cost a tenth of the
rate (measured on two cores by ``benchmarks/loop.py``)."""

MOST_LANES = 256
"""Lanes that are opened unasked, each with a session of its own."""

USED = ("__version__", "InferenceSession", "SessionOptions", "GraphOptimizationLevel", "ExecutionMode")
"""What is used of onnxruntime's module."""

FATAL = 4
"""Log severity: what goes wrong comes back as an exception, printing it as well is noise."""


def open_engines(bundle: Bundle, options: EngineOptions) -> list[Engine]:
    """Opens a bundle's portable model.

    Args:
        bundle: A verified bundle.
        options: With ``precision`` the variant of the bundle, where it is meant for onnxruntime. ``latency`` opens one session for all lanes (default 1, all physical cores), ``throughput`` one session
            per lane (default: a lane per physical core, one thread each).

    Returns:
        One engine per lane.

    Raises:
        EngineUnavailable: onnxruntime is not installed, or older than the bundle needs.
        EngineFailed: onnxruntime refuses the model.
        ContractMismatch: The model's tensors do not fit the manifest.
    """
    bundle, why = with_variant(bundle, OnnxRuntimeEngine.name, options.precision)
    ort = _library(bundle.manifest)
    cores = hardware.available_cores()
    together = options.mode == "latency"
    threads = options.threads or (cores if together else 1)
    lanes = options.lanes or (LATENCY_LANES if together else min(MOST_LANES, max(1, cores // threads)))
    sessions = _open_sessions(ort, bundle, threads, 1 if together else lanes)
    turns = [threading.Lock() for _ in sessions]
    engines = [
        OnnxRuntimeEngine(sessions[lane % len(sessions)], turns[lane % len(sessions)], bundle.manifest)
        for lane in range(lanes)
    ]
    for engine in engines:
        engine.reason = why
    return list(engines)


class OnnxRuntimeEngine:
    """One lane of an onnxruntime session: its own buffers, bound once.

    Args:
        session: An ``onnxruntime.InferenceSession``.
        turn: Held during a run; shared by the lanes of one session.
        manifest: Contracts of the model.

    Raises:
        ContractMismatch: The model's tensors do not fit the manifest.
    """

    name = "onnxruntime"
    reason = ""

    def __init__(self, session: Any, turn: threading.Lock, manifest: Manifest) -> None:
        _check_input(session, manifest)
        outputs = match_outputs(
            manifest.head, manifest.input.batch, [(node.name, node.shape) for node in session.get_outputs()]
        )
        wrong = [node for node in session.get_outputs() if node.type != "tensor(float)"]
        if wrong:
            raise ContractMismatch(
                f"output {wrong[0].name!r} of the model is {wrong[0].type}, not tensor(float): export it again"
            )
        self._session = session
        self._turn = turn
        self._input = manifest.input.name
        self._buffer: Array = np.zeros(manifest.input.shape, np.float32)
        self._names = [name for name, _ in outputs]
        self._outputs: list[Array] = [np.zeros(shape, np.float32) for _, shape in outputs]
        batch = manifest.input.batch
        counts = range(1, batch + 1) if manifest.input.dynamic else (batch,)
        self._bound = {count: self._bind(count) for count in counts}

    def _bind(self, count: int) -> tuple[Any, list[Array]]:
        """A binding of the first slots of each buffer, and those of the outputs."""
        binding = self._session.io_binding()
        outputs = [array[:count] for array in self._outputs]
        given = self._buffer[:count]
        binding.bind_input(self._input, "cpu", 0, np.float32, given.shape, given.ctypes.data)
        for name, array in zip(self._names, outputs, strict=True):
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        return binding, outputs

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        """Shape of each output, in the order of the head contract."""
        return [array.shape for array in self._outputs]

    def buffers(self) -> dict[str, Array]:
        """Static input buffers by tensor name."""
        return {self._input: self._buffer}

    def infer(self, inputs: Mapping[str, Array], begun: Callable[[], None] | None = None) -> list[Array]:
        """Executes the model once; the next call overwrites what it returns.

        Args:
            inputs: As in `Engine.infer`.
            begun: Called when another lane's run is over and this one begins.

        Raises:
            EngineFailed: onnxruntime refuses to run, or the engine is closed.
        """
        if self._session is None:
            raise EngineFailed("this model is closed: load the bundle again")
        given = inputs[self._input]
        binding, outputs = self._bound[len(given)]
        if given is not self._buffer and not _starts_at(given, self._buffer):
            np.copyto(self._buffer[: len(given)], given)
        with self._turn:
            if begun is not None:
                begun()
            try:
                self._session.run_with_iobinding(binding)
            except Exception as error:  # onnxruntime has a dozen exception types without a common base
                raise EngineFailed(f"onnxruntime could not run the model: {_first_line(error)}") from error
        return outputs

    def close(self) -> None:
        """Lets go of the session."""
        self._session = None
        self._bound.clear()


def _starts_at(part: Array, whole: Array) -> bool:
    """Whether an array is the first slots of a buffer, so that nothing needs to be copied."""
    return part.flags.c_contiguous and _native.address(part) == _native.address(whole)


def run_once(onnx: bytes, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Executes any ONNX file once, a part of a model perhaps, and keeps nothing of it.

    Args:
        onnx: The file.
        inputs: Its inputs by name.

    Returns:
        Its outputs, in their order.

    Raises:
        EngineUnavailable: onnxruntime is not installed, or broken.
        EngineFailed: It refuses the file or the inputs.
    """
    ort = _module()
    session = _session(ort, onnx, 1, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    try:
        return [np.asarray(found) for found in session.run(None, dict(inputs))]
    except Exception as error:  # onnxruntime has a dozen exception types without a common base
        raise EngineFailed(f"onnxruntime could not run a part of the model: {_first_line(error)}") from error


def _library(manifest: Manifest) -> Any:
    """The onnxruntime module, if it is there and new enough."""
    ort = _module()
    if _numbers(ort.__version__) < _numbers(manifest.min_onnxruntime):
        raise EngineUnavailable(
            f"onnxruntime {ort.__version__} is installed and this bundle needs {manifest.min_onnxruntime} or newer: "
            f"pip install -U 'onnxruntime>={manifest.min_onnxruntime}'"
        )
    return ort


def _module() -> Any:
    """The onnxruntime module, if it is there and whole."""
    try:
        ort = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise EngineUnavailable(
            f"onnxruntime cannot be imported ({_first_line(error)}): install it with pip install 'lineside[cpu]'"
        ) from error
    except Exception as error:  # built for another numpy, half installed, half removed: it raises what it likes
        raise EngineUnavailable(_broken(_first_line(error) or type(error).__name__)) from error
    lacking = next((name for name in USED if not hasattr(ort, name)), None)
    if lacking is not None:  # a folder that an uninstallation left behind is a package too
        raise EngineUnavailable(_broken(f"it has no {lacking}"))
    return ort


def _broken(why: str) -> str:
    return (
        f"onnxruntime is installed and broken ({why}): install it again with "
        "pip install --force-reinstall 'lineside[cpu]'"
    )


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version: (1, 17, 3) for ``1.17.3.dev1``."""
    numbers = []
    for part in version.split("."):
        if not (part.isascii() and part.isdigit() and len(part) < 10):
            break
        numbers.append(int(part))
    while numbers and numbers[-1] == 0:  # 1.17 and 1.17.0 are the same
        numbers.pop()
    return tuple(numbers)


def _open_sessions(ort: Any, bundle: Bundle, threads: int, count: int) -> list[Any]:
    """Sessions, from the optimised model of an earlier start where there is one.

    An optimised model is laid out for one processor and one onnxruntime, so both are part of its name in the cache.
    """
    cpu = hardware.cpu()
    layout = hashlib.sha256(" ".join((cpu.machine, *cpu.flags)).encode()).hexdigest()[:16]
    name = f"onnxruntime/{ort.__version__}-{layout}/{bundle.manifest.files[bundle.manifest.model]}.onnx"
    as_it_is, optimise = ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    ready = cache.fetch(name)
    if ready is not None:
        with contextlib.suppress(Exception):  # whatever is wrong with it, the bundle's own model is still there
            return [_session(ort, ready, threads, as_it_is) for _ in range(count)]
    model = bundle.read(bundle.manifest.model)
    try:
        with cache.scratch() as scratch:
            saved = scratch / "optimised.onnx"
            first = _session(ort, model, threads, optimise, saved)
            ready = saved.read_bytes()
    except Exception:  # no cache to write to, or a graph that cannot be written: then without the cache
        return [_session(ort, model, threads, optimise) for _ in range(count)]
    cache.keep(name, ready)
    return [first, *(_session(ort, ready, threads, as_it_is) for _ in range(count - 1))]


def _session(ort: Any, model: bytes, threads: int, level: Any, saved: Path | None = None) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = level
    options.enable_mem_pattern = False
    options.log_severity_level = FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if saved is not None:
        options.optimized_model_filepath = str(saved)
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen exception types without a common base
        raise EngineFailed(
            f"onnxruntime {ort.__version__} refuses the model: {_first_line(error)}; "
            "upgrade onnxruntime, or export the bundle again"
        ) from error


def _check_input(session: Any, manifest: Manifest) -> None:
    found = [(node.name, node.type, node.shape) for node in session.get_inputs()]
    wanted = manifest.input
    fits = [
        len(shape) == 4
        and (name, kind) == (wanted.name, "tensor(float)")
        and all(not isinstance(have, int) or have == want for have, want in zip(shape, wanted.shape, strict=True))
        and not (wanted.dynamic and any(isinstance(shape[axis], int) for axis in (0, 2, 3)))
        for name, kind, shape in found
    ]
    if fits != [True]:
        shown = "; ".join(f"{name} {kind} {shape}" for name, kind, shape in found)
        raise ContractMismatch(
            f"the model's input is {shown} and its manifest says {wanted.name} tensor(float) {list(wanted.shape)}"
            f"{', the sides free' if wanted.dynamic else ''}: "
            "the manifest belongs to another model; export it again"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
