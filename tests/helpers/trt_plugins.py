"""An execution context of TensorRT's double that runs plugins: what lies before them with onnxruntime, then their enqueue."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from helpers import trt_double

__all__ = ["PluginContext"]


class _Desc:
    """What TensorRT tells a plugin of a tensor in float32."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.dims, self.type, self.format = shape, trt_double.float32, trt_double.TensorFormat.LINEAR


class PluginContext(trt_double._Context):
    """Takes nodes without a body, whose outputs are outputs of the graph and whose tensors are all float32.

    Attributes:
        enqueued: Names of the plugins that were enqueued by any of them.
    """

    enqueued: list[str] = []  # shared on purpose

    def __init__(self, engine: Any) -> None:
        model = onnx.ModelProto()
        model.CopyFrom(engine.model)
        bodies = {function.name for function in model.functions}
        nodes = [node for node in model.graph.node if node.domain and node.op_type not in bodies]
        made = {name for node in nodes for name in node.output}
        self._constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        given = [name for node in nodes for name in node.input if name not in self._constants]
        outputs = [value for value in model.graph.output if value.name not in made]
        del model.graph.output[:]
        model.graph.output.extend([*outputs, *(onnx.ValueInfoProto(name=name) for name in given)])
        for node in nodes:
            model.graph.node.remove(node)
        self._whole, self._held = engine, {}
        super().__init__(_Before(engine, model))
        self._plugins = [(node, self._create(node)) for node in nodes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape: tuple[int, ...] = self._whole.get_tensor_shape(name)
        return shape

    def execute_async_v3(self, stream_handle: int) -> bool:
        device = trt_double.SETTINGS.device
        for node, _ in self._plugins:
            for name in node.input:
                self._hold(device, name)
        super().execute_async_v3(stream_handle)
        for node, plugin in self._plugins:
            given = [_Desc(self._held[name][1]) for name in node.input]
            found = [_Desc(self.get_tensor_shape(name)) for name in node.output]
            plugin.on_shape_change(given, found)
            addresses = [self._addresses[name] for name in node.output]
            plugin.enqueue(
                given, found, [self._held[name][0].address for name in node.input], addresses, 0, stream_handle
            )
            self.enqueued.append(node.op_type)
        return True

    def _create(self, node: onnx.NodeProto) -> Any:
        (creator,) = (one for (name, _, _), one in trt_double.REGISTRY.creators.items() if name == node.op_type)
        return creator.create_plugin(node.op_type, [], None).attach_to_context(None)

    def _hold(self, device: Any, name: str) -> None:
        """Memory of the device for an input of a plugin, with its content where it is a constant."""
        if name in self._held:
            return
        known = self._constants.get(name)
        if known is None:
            known = self._session.run([name], {self._input: np.zeros(self._shape, np.float32)})[0]
        buffer = device.allocate(known.nbytes)
        buffer.inside().view(np.float32)[:] = known.reshape(-1)
        self._held[name] = (buffer, known.shape)
        self._addresses[name] = buffer.address


class _Before:
    """What of an engine a context looks at, with another model."""

    def __init__(self, engine: Any, model: onnx.ModelProto) -> None:
        self.model, self._engine = model, engine

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape: tuple[int, ...] = self._engine.get_tensor_shape(name)
        return shape
