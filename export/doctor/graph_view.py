"""An ONNX graph as rules look at it: nodes of all depths, where they come from, element types and shapes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import TensorProto, defs, helper

__all__ = ["GraphView", "Place", "attribute", "module_path"]

DEFAULT = ("", "ai.onnx")
KINDS = {number: name.lower() for name, number in TensorProto.DataType.items()}


@dataclass(frozen=True)
class Place:
    """A node and where it is.

    Attributes:
        node: The node.
        where: Module path that its name tells, or its place in the graph.
        function: Name of the model-local function that it is in; empty outside.
        nested: It is in the body of a Scan, Loop or If.
    """

    node: onnx.NodeProto
    where: str
    function: str
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
        self.opsets = {"" if it.domain in DEFAULT else it.domain: it.version for it in model.opset_import}
        self.functions = {("" if it.domain in DEFAULT else it.domain, it.name): it for it in model.functions}
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
        try:
            model = onnx.shape_inference.infer_shapes(self.model, data_prop=True)
        except Exception:  # it gives up on what it does not know, and what the file says is still there
            model = self.model
        values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
        return {value.name: value.type.tensor_type for value in values if value.type.HasField("tensor_type")}

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

    def since(self, place: Place) -> int | None:
        """Opset in which the definition of a node's operator came; None for an operator that onnx does not know."""
        opset = self.opset(place)
        try:
            return defs.get_schema(place.node.op_type, opset, place.domain).since_version
        except defs.SchemaError:
            return None

    def schema(self, place: Place) -> defs.OpSchema | None:
        """Definition of a node's operator; None for one that onnx does not know."""
        try:
            return defs.get_schema(place.node.op_type, self.opset(place), place.domain)
        except defs.SchemaError:
            return None

    def opset(self, place: Place) -> int:
        """Opset that a node's operator is to be read in."""
        if place.function:
            own = next((it for it in self.model.functions if it.name == place.function), None)
            versions = {"" if it.domain in DEFAULT else it.domain: it.version for it in own.opset_import} if own else {}
            return int(versions.get(place.domain, self.opsets.get(place.domain, 1)))
        return int(self.opsets.get(place.domain, 1))


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


def _walk(model: onnx.ModelProto) -> Iterator[Place]:
    """Every node, those of bodies and of the functions that are called included; engines drop the other functions."""
    functions = {("" if it.domain in DEFAULT else it.domain, it.name): it for it in model.functions}
    waiting = list(_nodes(model.graph.node, "", "", False))
    while waiting:
        yield from waiting
        called = [functions.pop((it.domain, it.node.op_type), None) for it in waiting]
        waiting = [
            place
            for function in called
            if function is not None
            for place in _nodes(function.node, function.name, f"function {function.name}: ", False)
        ]


def _nodes(nodes: onnx.GraphProto, function: str, prefix: str, nested: bool) -> Iterator[Place]:
    for index, node in enumerate(nodes):
        where = prefix + (module_path(node.name) if node.name else f"{node.op_type} #{index}")
        yield Place(node, where, function, nested)
        for entry in node.attribute:
            for body in (entry.g, *entry.graphs) if entry.type in (entry.GRAPH, entry.GRAPHS) else ():
                yield from _nodes(body.node, function, f"{where}: ", True)
