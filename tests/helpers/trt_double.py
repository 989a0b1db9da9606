"""A double of the module ``tensorrt`` for what cannot be had without a GPU: a builder that builds and a runtime that runs.

It is put in the place of the module (``sys.modules["tensorrt"]``) and has the names that Lineside uses; that these exist
in the real ones is tested with the real bindings. A plan of it is the ONNX file with a header; it is executed by onnxruntime on
a `HostDevice`. What it says to the engine inspector is composed after NVIDIA's description of the format; no TensorRT
wrote it.
"""

from __future__ import annotations

import ctypes
import enum
import json
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

__version__ = "10.3.0"


@dataclass
class Settings:
    """How the double behaves.

    Attributes:
        sm: Compute capability of its GPU.
        integrated: Whether GPU and processor share one memory.
        device: Where engines run.
        errors: What the builder logs instead of building.
        runtime_error: What the runtime logs when it is made.
        plan_error: What it logs instead of reading a plan.
        parse_error: What the parser says instead of parsing.
        type: How the inspector writes the type of the convolutions' inputs.
        tensors: Key of the list of tensors in the inspector's JSON.
        salt: Makes the plans of two builds differ.
        steps: Steps of the build's phase.
        pause: Seconds that a step takes.
        meanwhile: Called while it builds.
        seen: What was asked of it, for the tests.
    """

    sm: str = "87"
    integrated: bool = False
    device: Any = None
    errors: tuple[str, ...] = ()
    runtime_error: str = ""
    plan_error: str = ""
    parse_error: str = ""
    type: str = "Row major linear FP32 format"
    tensors: str = "Bindings"
    salt: int = 0
    steps: int = 5
    pause: float = 0.0
    meanwhile: Any = None
    seen: dict[str, Any] = field(default_factory=dict)


SETTINGS = Settings()


class BuilderFlag(enum.IntEnum):
    TF32 = 7


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None:
        pass

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class Logger(ILogger):
    pass


class NetworkDefinitionCreationFlag:
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class DataType(enum.Enum):
    FLOAT = "float32"
    HALF = "float16"
    INT32 = "int32"


float32, float16, int32 = DataType.FLOAT, DataType.HALF, DataType.INT32


class TensorFormat(enum.Enum):
    LINEAR = 0
    CHW32 = 1


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class ProfilingVerbosity(enum.Enum):
    LAYER_NAMES_ONLY = 0
    DETAILED = 2


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class LayerInformationFormat(enum.Enum):
    ONELINE = 0
    JSON = 1


class PluginFieldType(enum.Enum):
    CHAR = 4


class DimensionOperation(enum.Enum):
    SUM = 0
    PROD = 1
    SUB = 4
    FLOOR_DIV = 7


class _Base:
    def __init__(self, *given: Any) -> None:
        pass


class IPluginV3(_Base): ...


class IPluginV3OneCore(_Base): ...


class IPluginV3OneBuild(_Base): ...


class IPluginV3OneRuntime(_Base): ...


class IPluginCreatorV3One(_Base): ...


class IProgressMonitor(_Base): ...


class DimsExprs(list):  # type: ignore[type-arg]
    def __init__(self, count: int) -> None:
        super().__init__([None] * count)


@dataclass
class PluginField:
    name: str
    data: Any
    type: Any


class PluginFieldCollection(list): ...  # type: ignore[type-arg]


class _Registry:
    def __init__(self) -> None:
        self.creators: dict[tuple[str, str, str], Any] = {}

    def register_creator(self, creator: Any, namespace: str) -> bool:
        self.creators[creator.name, creator.plugin_version, namespace] = creator
        return True


REGISTRY = _Registry()


def get_plugin_registry() -> _Registry:
    return REGISTRY


class _Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.model: onnx.ModelProto | None = None

    def get_input(self, index: int) -> Any:
        assert self.model is not None
        return _Tensor(_shape(self.model.graph.input[index]))


@dataclass
class _Tensor:
    shape: tuple[int, ...]


class _ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser:
    def __init__(self, network: _Network, logger: ILogger) -> None:
        self._network, self._errors = network, [SETTINGS.parse_error] if SETTINGS.parse_error else []

    def parse(self, model: bytes) -> bool:
        SETTINGS.seen["onnx"] = bytes(model)
        loaded = onnx.load_from_string(bytes(model))
        bodies = {(function.domain, function.name) for function in loaded.functions}
        known = {(namespace, name) for name, _, namespace in REGISTRY.creators}
        for node in loaded.graph.node:
            if node.domain and (node.domain, node.op_type) not in bodies | known:
                self._errors.append(
                    f"Plugin not found, are the plugin name, version, and namespace correct? {node.op_type}"
                )
        self._network.model = loaded
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> _ParserError:
        return _ParserError(self._errors[index])


class _TimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = bytes(data)

    def serialize(self) -> bytes:
        return self.data + b"timed;"


class _Config:
    def __init__(self) -> None:
        self.progress_monitor: Any = None
        self.profiling_verbosity: Any = None
        self.profiles: list[Any] = []

    def clear_flag(self, flag: BuilderFlag) -> None:
        SETTINGS.seen["cleared"] = [*SETTINGS.seen.get("cleared", []), flag]

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        SETTINGS.seen["workspace"] = (pool, size)

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, data: bytes) -> _TimingCache:
        SETTINGS.seen["timing"] = bytes(data)
        return _TimingCache(data)

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        taken = ignore_mismatch or b"foreign" not in cache.data
        if not taken:
            SETTINGS.seen["logger"].log(ILogger.Severity.ERROR, "the timing cache is of another device")
        return taken


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        self.shapes[input] = (tuple(min), tuple(opt), tuple(max))


def init_libnvinfer_plugins(logger: ILogger, namespace: str) -> bool:
    SETTINGS.seen["own plugins"] = namespace
    return True


def _first(logger: ILogger) -> ILogger:
    """The logger that is written to: the first one of a process, as the real one does."""
    first: ILogger = SETTINGS.seen.setdefault("logger", logger)
    return first


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = _first(logger)

    def create_network(self, flags: int) -> _Network:
        SETTINGS.seen["flags"] = flags
        return _Network(flags)

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        SETTINGS.seen["builds"] = SETTINGS.seen.get("builds", 0) + 1
        SETTINGS.seen["profiles"] = config.profiles
        watch = config.progress_monitor
        watch.phase_start("Building Engine", None, SETTINGS.steps)
        watch.phase_start("Timing", "Building Engine", 2)
        for step in range(SETTINGS.steps):
            time.sleep(SETTINGS.pause)
            if not watch.step_complete("Building Engine", step):
                return None
        watch.phase_finish("Building Engine")
        if SETTINGS.meanwhile is not None:
            SETTINGS.meanwhile()
        for line in SETTINGS.errors:
            self._logger.log(ILogger.Severity.ERROR, line)
        if SETTINGS.errors:
            return None
        self._logger.log(ILogger.Severity.WARNING, "a warning of the double")
        assert network.model is not None
        head = {"version": __version__, "sm": SETTINGS.sm, "profiles": config.profiles, "salt": SETTINGS.salt}
        assert config.profiling_verbosity == ProfilingVerbosity.DETAILED
        return json.dumps(head).encode() + b"\n" + network.model.SerializeToString()


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = _first(logger)
        if SETTINGS.runtime_error:
            self._logger.log(ILogger.Severity.ERROR, SETTINGS.runtime_error)

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        assert not SETTINGS.runtime_error, "the real one ends the program here"
        assert SETTINGS.seen.get("own plugins") == "", "a plan with a plugin of its own is refused by the real one"
        if SETTINGS.plan_error:
            self._logger.log(ILogger.Severity.ERROR, SETTINGS.plan_error)
            return None
        head, _, model = plan.partition(b"\n")
        try:
            facts = json.loads(head)
        except ValueError:
            self._logger.log(ILogger.Severity.ERROR, "Serialization assertion magicTagRead == kMAGIC_TAG failed")
            return None
        if (facts["version"], facts["sm"]) != (__version__, SETTINGS.sm):
            self._logger.log(ILogger.Severity.ERROR, "The engine plan file is not compatible with this version")
            return None
        return _Engine(onnx.load_from_string(model))


class _Engine:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        graph = model.graph
        self._io = [(value.name, TensorIOMode.INPUT, _shape(value)) for value in graph.input]
        self._io += [(value.name, TensorIOMode.OUTPUT, _shape(value)) for value in graph.output]

    @property
    def num_io_tensors(self) -> int:
        return len(self._io)

    def get_tensor_name(self, index: int) -> str:
        return self._io[index][0]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return next(mode for own, mode, _ in self._io if own == name)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return next(shape for own, _, shape in self._io if own == name)

    def get_tensor_dtype(self, name: str) -> DataType:
        return float32

    def create_execution_context(self) -> _Context:
        return _Context(self)

    def create_engine_inspector(self) -> _Inspector:
        return _Inspector(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        import onnxruntime

        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._input = engine.model.graph.input[0].name
        self._shape = engine.get_tensor_shape(self._input)
        self._session = onnxruntime.InferenceSession(
            engine.model.SerializeToString(), providers=["CPUExecutionProvider"]
        )

    def set_input_shape(self, name: str, shape: Any) -> bool:
        self._shape = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        written = self._engine.get_tensor_shape(name)
        if all(side >= 0 for side in written) or any(side < 0 for side in self._shape):
            return written
        found = self._session.run([name], {self._input: np.zeros(self._shape, np.float32)})[0]
        return tuple(found.shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        device, shape = SETTINGS.device, self._shape
        device.call(device.adopt(stream_handle), "the double of TensorRT", lambda: self._run(shape))
        return True

    def _run(self, shape: tuple[int, ...]) -> None:
        given = _at(self._addresses[self._input], shape)
        names = [value.name for value in self._engine.model.graph.output]
        for name, found in zip(names, self._session.run(names, {self._input: given}), strict=True):
            _at(self._addresses[name], found.shape)[...] = found


class _Inspector:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine

    def get_engine_information(self, format: Any) -> str:  # noqa: A002
        assert format == LayerInformationFormat.JSON
        weights = {tensor.name: tensor.dims for tensor in self._engine.model.graph.initializer}
        dynamic = any(side < 0 for side in self._engine.get_tensor_shape(self._engine.model.graph.input[0].name))
        side = -1 if dynamic and getattr(self, "execution_context", None) is None else 8
        layers: list[Any] = []
        for node in self._engine.model.graph.node:
            if node.op_type != "Conv":
                layers.append({"Name": node.name, "LayerType": "PointWiseV2", "Inputs": [], "Outputs": []})
                continue
            dims = list(weights.get(node.input[1], (16, 16, 3, 3)))  # a weight may come out of a cast
            tensor = {"Name": node.input[0], "Dimensions": [1, dims[1], side, side], "Format/Datatype": SETTINGS.type}
            out = {**tensor, "Name": node.output[0], "Dimensions": [1, dims[0], side, side]}
            layers.append(
                {
                    "Name": node.name,
                    "LayerType": "CaskConvolution",
                    "Inputs": [tensor],
                    "Outputs": [out],
                    "ParameterType": "Convolution",
                    "Kernel": dims[2:],
                    "Weights": {"Type": "Float", "Count": int(np.prod(dims))},
                }
            )
        return json.dumps({"Layers": layers, SETTINGS.tensors: []})


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(side.dim_value if side.HasField("dim_value") else -1 for side in value.type.tensor_type.shape.dim)


def _at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 tensor that lies at an address of a host device."""
    count = int(np.prod(shape))
    return np.frombuffer((ctypes.c_float * count).from_address(address), np.float32).reshape(shape)
