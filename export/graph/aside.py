"""Takes nodes of other domains out of a graph and puts them back, so that a simplifier sees standard operators alone.

Simplifiers infer shapes up to the first node that they do not know, and fold no shape behind it. Here the outputs of
such nodes become inputs of the graph, with the shapes that the exporter noted down, and what the nodes read is kept
alive by a standard operator that ends in an output of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from lineside.export.graph.inside import reads

__all__ = ["STANDARD", "Aside", "put_back", "take_aside"]

STANDARD = frozenset({"", "ai.onnx"})
"""Names of the domain of the standard operators."""

_KEEPER = "Acosh"
"""An operator that no network uses, so that it is neither fused nor shared."""

_SUFFIX = "__kept"


@dataclass(frozen=True)
class Aside:
    """What was taken out.

    Attributes:
        nodes: The nodes, in order.
        constants: Initialisers that they read.
        results: Names of their outputs.
        kept: Names of the outputs of the graph that keep alive what they read.
    """

    nodes: tuple[onnx.NodeProto, ...]
    constants: Mapping[str, onnx.TensorProto]
    results: frozenset[str]
    kept: frozenset[str]


def take_aside(
    model: onnx.ModelProto, shapes: Mapping[str, onnx.ValueInfoProto]
) -> tuple[onnx.ModelProto, Aside] | None:
    """Takes the nodes of other domains out.

    Args:
        model: The graph, without constants that are computed; left as it was.
        shapes: Type and shape of the nodes' outputs by name.

    Returns:
        A graph of standard operators, and what was taken out; None where there is nothing to take out, or the shape of
        an output is not known.
    """
    nodes = [node for node in model.graph.node if node.domain not in STANDARD]
    results = [name for node in nodes for name in node.output if name]
    if not nodes or not all(name in shapes for name in results):
        return None
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    read = dict.fromkeys(name for node in nodes for name in node.input if name)
    given = {value.name for value in model.graph.input}
    own = onnx.ModelProto()
    own.CopyFrom(model)
    graph = own.graph
    rest = [node for node in graph.node if node.domain in STANDARD]
    del graph.node[:], graph.value_info[:]
    kept = [name for name in read if name not in weights and name not in results and name not in given]
    graph.node.extend([*rest, *(helper.make_node(_KEEPER, [name], [name + _SUFFIX]) for name in kept)])
    graph.input.extend(shapes[name] for name in results)
    for name in kept:
        graph.output.add(name=name + _SUFFIX).type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    constants = {name: weights[name] for name in read if name in weights}
    kept_outputs = frozenset(name + _SUFFIX for name in kept)
    return own, Aside(tuple(nodes), constants, frozenset(results), kept_outputs)


def put_back(model: onnx.ModelProto, aside: Aside) -> onnx.ModelProto:
    """Puts the nodes back.

    Args:
        model: The simplified graph; changed in place.
        aside: What was taken out of it.

    Returns:
        The graph.

    Raises:
        ValueError: The simplifier dropped something that the nodes read.
    """
    graph = model.graph
    keepers = {node.output[0]: node for node in graph.node if node.output[0] in aside.kept}
    if keepers.keys() != aside.kept:
        raise ValueError(f"{sorted(aside.kept - keepers.keys())[0].removesuffix(_SUFFIX)} was lost on the way")
    # Whatever a tensor is called now, its keeper reads it.
    names = {name.removesuffix(_SUFFIX): keeper.input[0] for name, keeper in keepers.items()}
    nodes = [node for node in graph.node if node.output[0] not in aside.kept]
    for node in aside.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [names.get(name, name) for name in node.input]
        nodes.append(copy)
    present = {tensor.name for tensor in graph.initializer}
    graph.initializer.extend(tensor for name, tensor in aside.constants.items() if name not in present)
    inputs = [value for value in graph.input if value.name not in aside.results]
    outputs = [value for value in graph.output if value.name not in aside.kept]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.input.extend(inputs)
    graph.output.extend(outputs)
    graph.node.extend(_sorted(nodes))
    return model


def _sorted(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes in an order that can be executed, otherwise as they were."""
    makers = {name: node for node in nodes for name in node.output if name}
    done: set[int] = set()
    found: list[onnx.NodeProto] = []
    for first in nodes:
        stack = [first]
        while stack:
            node = stack[-1]
            missing = [makers[name] for name in reads(node) if name in makers and id(makers[name]) not in done]
            if missing and id(node) not in done:
                stack += missing
                continue
            stack.pop()
            if id(node) not in done:
                done.add(id(node))
                found.append(node)
    return found
