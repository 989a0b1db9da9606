"""An ONNX graph as rules look at it: nodes of all depths, where they come from, element types and shapes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx
from onnx import TensorProto, defs, helper

from lineside.export.graph.inside import graphs_in

__all__ = ["KINDS", "GraphView", "Place", "attribute", "module_path", "without_weights"]

Call = tuple[str, str, str]
"""Domain, name and overload of a model-local function."""

LARGE = 1 << 14
"""Bytes of a constant beyond which it is no shape, no axis and no table of sizes."""

DEFAULT = ("", "ai.onnx")
KINDS = {number: name.lower() for name, number in TensorProto.DataType.items()}
"""Element types as the rules name them, by their numbers in a file."""


@dataclass(frozen=True)
class Place:
    """A node and where it is.

    Attributes:
        node: The node.
        where: Module path that its name tells, or its place in the graph.
        function: The model-local function that it is in; None outside.
        nested: It is in the body of a Scan, Loop or If.
    """

    node: onnx.NodeProto
    where: str
    function: onnx.FunctionProto | None
    nested: bool

    @property
    def domain(self) -> str:
        """Domain of the operator, the default one empty."""
        return "" if self.node.domain in DEFAULT else self.node.domain


class GraphView:
    """Reads a model; changes nothing.

    Args:
        model: The model, weights included or not.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.opsets = _versions(model.opset_import)
        self.functions = _functions(model)
        self.places = list(_walk(model))
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        for place in self.places:
            if place.node.op_type == "Constant" and place.node.output and not place.function and not place.nested:
                value = attribute(place.node, "value")
                if isinstance(value, TensorProto):
                    self.initializers[place.node.output[0]] = value
        self.producers = {name: it for it in self.top for name in it.node.output}
        self.consumers: dict[str, list[Place]] = {}
        for place in self.top:
            for name in place.node.input:
                self.consumers.setdefault(name, []).append(place)

    @property
    def top(self) -> Iterator[Place]:
        """Nodes of the main graph alone."""
        return (place for place in self.places if not place.function and not place.nested)

    @functools.cached_property
    def _types(self) -> dict[str, onnx.TypeProto.Tensor]:
        light = without_weights(self.model)
        with contextlib.suppress(Exception):  # it gives up on what it does not know; what the file says is still there
            light = onnx.shape_inference.infer_shapes(light, data_prop=True)
        values = (*light.graph.value_info, *light.graph.input, *light.graph.output)
        return {value.name: value.type.tensor_type for value in values if value.type.HasField("tensor_type")}

    def called(self, node: onnx.NodeProto) -> onnx.FunctionProto | None:
        """The model-local function that a node stands for; None for an operator."""
        return self.functions.get(_call(node))

    def element_type(self, name: str) -> str | None:
        """Element type of a tensor of the main graph, such as ``float``; None where nothing tells."""
        if name in self.initializers:
            return KINDS.get(self.initializers[name].data_type)
        found = self._types.get(name)
        return KINDS.get(found.elem_type) if found is not None and found.elem_type else None

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Shape of a tensor of the main graph, None for a free side; None where nothing tells."""
        if name in self.initializers:
            return tuple(self.initializers[name].dims)
        found = self._types.get(name)
        if found is None or not found.HasField("shape"):
            return None
        return tuple(side.dim_value if side.HasField("dim_value") else None for side in found.shape.dim)

    def since(self, place: Place, opset: int) -> int | None:
        """Opset in which the definition of a node's operator came; None for an operator that onnx does not know."""
        schema = self.schema(place, opset)
        return None if schema is None else int(schema.since_version)

    def schema(self, place: Place, opset: int) -> defs.OpSchema | None:
        """Definition of a node's operator in an opset; None for one that onnx does not know."""
        try:
            return defs.get_schema(place.node.op_type, opset, place.domain)
        except defs.SchemaError:
            return None

    def opset(self, place: Place) -> int:
        """Opset that a node is written in: in a function that of the function itself, and not that of the model."""
        own = {} if place.function is None else _versions(place.function.opset_import)
        return own.get(place.domain) or self.opsets.get(place.domain, 1)


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """Value of a node's attribute."""
    for entry in node.attribute:
        if entry.name == name:
            value: object = helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def module_path(name: str) -> str:
    """The module that a node comes from, as torch's exporter leaves it in the node's name.

    Args:
        name: Such as ``/model.10/m/m.0/attn/MatMul``.

    Returns:
        Such as ``model.10.m.0.attn``; a name of another form as it is.
    """
    if not name.startswith("/"):
        return name
    parts: list[str] = []
    for part in name.strip("/").split("/")[:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts[-1] = part  # a child of a list carries the list's name
        else:
            parts.append(part)
    return ".".join(parts) or name


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for shape inference: large constants are inputs of the same type and shape, since their numbers tell no shape.

    Args:
        model: A model of any size, that of weights beside the file included.

    Returns:
        The copy; it runs nowhere, and is as small as the graph is.
    """
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph, source = light.graph, model.graph
    graph.name = source.name
    for field in ("input", "output", "value_info", "sparse_initializer"):
        getattr(graph, field).extend(getattr(source, field))
    known = {value.name for value in source.input}
    for tensor in source.initializer:
        if tensor.data_location != TensorProto.EXTERNAL and tensor.ByteSize() <= LARGE:
            graph.initializer.append(tensor)
        elif tensor.name not in known:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for node in source.node:
        tensor = attribute(node, "value") if node.op_type == "Constant" and node.ByteSize() > LARGE else None
        if isinstance(tensor, TensorProto) and node.output:
            graph.input.append(helper.make_tensor_value_info(node.output[0], tensor.data_type, tensor.dims))
        else:
            graph.node.append(node)
    return light


def _versions(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """Opset of each domain, the default one under the empty name."""
    return {"" if it.domain in DEFAULT else it.domain: it.version for it in imports}


def _functions(model: onnx.ModelProto) -> dict[Call, onnx.FunctionProto]:
    """The model-local functions, by what a node calls them."""
    return {("" if it.domain in DEFAULT else it.domain, it.name, it.overload): it for it in model.functions}


def _call(node: onnx.NodeProto) -> Call:
    return "" if node.domain in DEFAULT else node.domain, node.op_type, node.overload


def _walk(model: onnx.ModelProto) -> Iterator[Place]:
    """Every node, those of bodies and of the functions that are called included; engines drop the other functions."""
    functions = _functions(model)
    waiting = list(_nodes(model.graph.node, None, "", False))
    while waiting:
        yield from waiting
        called = [functions.pop(_call(it.node), None) for it in waiting]
        waiting = [
            place
            for function in called
            if function is not None
            for place in _nodes(function.node, function, f"function {function.name}: ", False)
        ]


def _nodes(
    nodes: Iterable[onnx.NodeProto], function: onnx.FunctionProto | None, prefix: str, nested: bool
) -> Iterator[Place]:
    for index, node in enumerate(nodes):
        where = prefix + (module_path(node.name) if node.name else f"{node.op_type} #{index}")
        yield Place(node, where, function, nested)
        for body in graphs_in(node):
            yield from _nodes(body.node, function, f"{where}: ", True)
