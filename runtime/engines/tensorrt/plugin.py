"""Our operators as plugins of TensorRT: one class for all of them, out of their declarations.

A plugin of the third generation written in Python works from TensorRT 10.3 to 11. Its ``enqueue`` launches our kernel on
TensorRT's stream; in a captured CUDA graph only the kernel is left of it.

Two rules keep it alive. Python objects that TensorRT holds are never freed (10.3 ends the program when it finds one
gone), and every array behind a plugin field is held here, because TensorRT's collection of fields holds nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lineside.runtime.engines.tensorrt.keeping import immortal
from lineside.runtime.engines.tensorrt.rewrite import kernels_of
from lineside.runtime.engines.tensorrt.symbols import Symbol
from lineside.runtime.ops.op import DOMAIN, VERSION

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Device
    from lineside.runtime.engines.tensorrt.logs import Log
    from lineside.runtime.ops.op import DeviceOp

__all__ = ["FIELD", "launching", "register_own", "register_plugins", "take_failure"]

FIELD = "kernels"
"""The one field that is written into a plan: the fingerprint of the kernels."""

_REGISTERED: dict[tuple[int, str], Any] = {}

_running = threading.local()


@contextmanager
def launching(device: Device) -> Iterator[None]:
    """While it is open, plugins that TensorRT calls in this thread launch their kernels on that device.

    TensorRT finds a plugin's creator by its name, for every model of the process, so the plugin cannot know whose it is.
    """
    before = getattr(_running, "device", None)
    _running.device = device
    try:
        yield
    finally:
        _running.device = before


def take_failure() -> BaseException | None:
    """What went wrong first inside a plugin in this thread, once: TensorRT says only that something did."""
    failure: BaseException | None = getattr(_running, "failure", None)
    _running.failure = None
    return failure


def register_own(trt: Any, log: Log) -> None:
    """Makes the plugins that TensorRT brings known to its registry: its DeformConv is one, in a build and in a plan.

    Args:
        trt: The module ``tensorrt``; a second call does nothing.
        log: Where it writes.
    """
    trt.init_libnvinfer_plugins(log.logger, "")


def register_plugins(trt: Any, ops: Sequence[DeviceOp], device: Device) -> None:
    """Makes operators known to TensorRT's registry, each once per process.

    Args:
        trt: The module ``tensorrt``.
        ops: Operators with a kernel.
        device: Launches the kernels where nobody says otherwise, see `launching`.
    """
    registry = trt.get_plugin_registry()
    for op in ops:
        known = _REGISTERED.get((id(trt), op.name))
        if known is not None:
            known.device = device  # an earlier one may be closed
            continue
        creator = _classes(trt)[1](op, device)
        _REGISTERED[id(trt), op.name] = creator
        immortal(creator)
        registry.register_creator(creator, DOMAIN)


@cache
def _classes(trt: Any) -> tuple[Any, Any]:
    """The plugin and its creator, over TensorRT's own classes."""

    class OpPlugin(trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):  # type: ignore[misc]
        def __init__(self, op: DeviceOp, home: Callable[[], Device]) -> None:
            trt.IPluginV3.__init__(self)
            trt.IPluginV3OneCore.__init__(self)
            trt.IPluginV3OneBuild.__init__(self)
            trt.IPluginV3OneRuntime.__init__(self)
            self.plugin_name = op.name
            self.plugin_version = str(VERSION)
            self.plugin_namespace = DOMAIN
            self.num_outputs = len(op.outputs)
            self.op = op
            self.home = home
            self.kept = _fields(trt, {FIELD: kernels_of((op,))[op.name]})
            immortal(self)

        def get_capability_interface(self, type: Any) -> Any:  # noqa: A002
            return self

        def clone(self) -> Any:
            return OpPlugin(self.op, self.home)

        def get_output_data_types(self, input_types: Sequence[Any]) -> list[Any]:
            return [self._wanted(name, input_types)[-1] for name in self.op.outputs]

        def get_output_shapes(self, inputs: Sequence[Any], shape_inputs: Sequence[Any], exprs: Any) -> list[Any]:
            shapes = [tuple(Symbol(trt, exprs, shape[axis]) for axis in range(len(shape))) for shape in inputs]
            found = []
            for sides in self.op.shapes(*shapes):  # symbols calculate as numbers do
                shape = trt.DimsExprs(len(sides))
                for axis, side in enumerate(sides):
                    shape[axis] = side.expression if isinstance(side, Symbol) else exprs.constant(side)
                found.append(shape)
            return found

        def supports_format_combination(self, pos: int, in_out: Sequence[Any], num_inputs: int) -> bool:
            names = (*self.op.inputs[:num_inputs], *self.op.outputs)
            types = [entry.desc.type for entry in in_out[: min(pos, num_inputs)]]
            desc = in_out[pos].desc
            return bool(desc.format == trt.TensorFormat.LINEAR and desc.type in self._wanted(names[pos], types))

        def configure_plugin(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
            pass

        def on_shape_change(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
            self._noted(lambda: self._load([entry.type for entry in inputs]))

        def get_workspace_size(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
            return 0

        def get_valid_tactics(self) -> list[int]:
            return []

        def set_tactic(self, tactic: int) -> None:
            pass

        def attach_to_context(self, context: Any) -> Any:
            return self.clone()

        def get_fields_to_serialize(self) -> Any:
            return self.kept[0]

        def enqueue(
            self,
            input_desc: Sequence[Any],
            output_desc: Sequence[Any],
            inputs: Sequence[int],
            outputs: Sequence[int],
            workspace: int,
            stream: int,
        ) -> None:
            def launch() -> None:
                shapes = [tuple(int(side) for side in entry.dims) for entry in input_desc]
                if self.op.empty(shapes):
                    return
                half = self._half([entry.type for entry in input_desc])
                device = self.home()
                addresses = [int(address) for address in (*inputs, *outputs)]
                device.launch(device.adopt(int(stream)), self.op.launch(shapes, addresses, half))

            self._noted(launch)

        def _load(self, types: Sequence[Any]) -> None:
            """Compiles and loads the kernel, which may not happen while a graph is captured."""
            kernel = self.op.device_kernel(self._half(types))
            if kernel is not None:
                self.home().load(kernel)

        def _half(self, types: Sequence[Any]) -> bool:
            """Whether the floating inputs are float16."""
            return any(
                kind == trt.float16
                for name, kind in zip(self.op.inputs, types, strict=False)
                if name in self.op.floating
            )

        def _wanted(self, name: str, types: Sequence[Any]) -> list[Any]:
            """Element types that a tensor may have, given those of the inputs before it."""
            if name in self.op.integers:
                return [trt.int32]
            if name not in self.op.floating:
                return [trt.float32]
            given = [
                kind for own, kind in zip(self.op.inputs, types, strict=False) if own in self.op.floating
            ]  # fmt: skip
            return [given[0]] if given else [trt.float16, trt.float32]

        def _noted(self, work: Callable[[], None]) -> None:
            """Runs something for TensorRT, which takes an exception for a failure and a code for nothing at all.

            The exception itself is lost on the way, so it is kept for `take_failure`.
            """
            try:
                work()
            except BaseException as error:
                _running.failure = getattr(_running, "failure", None) or error
                raise

    class OpCreator(trt.IPluginCreatorV3One):  # type: ignore[misc]
        def __init__(self, op: DeviceOp, device: Device) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name = op.name
            self.plugin_namespace = DOMAIN
            self.plugin_version = str(VERSION)
            self.kept = _fields(trt, {FIELD: ""})
            self.field_names = self.kept[0]
            self.op = op
            self.device = device

        def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:
            return OpPlugin(self.op, lambda: getattr(_running, "device", None) or self.device)

    return OpPlugin, OpCreator


def _fields(trt: Any, texts: dict[str, str]) -> tuple[Any, list[Any]]:
    """A collection of text fields, and what has to live as long as it does."""
    held: list[Any] = []
    for name, text in texts.items():
        data = np.frombuffer(text.encode() + b"\0", np.int8).copy()
        held += [data, trt.PluginField(name, data, trt.PluginFieldType.CHAR)]
    return trt.PluginFieldCollection(held[1::2]), held
