"""Graphs inside of nodes, as branches and loops have them, and what they take from the graph around them."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

__all__ = ["captured", "drop_unused", "graphs_in", "reads"]


def graphs_in(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds as attributes."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def captured(node: onnx.NodeProto) -> list[str]:
    """Names that the graphs inside of a node take from around it, each once."""
    found: dict[str, None] = {}
    for graph in graphs_in(node):
        own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        own |= {name for inner in graph.node for name in inner.output}
        wanted = [name for inner in graph.node for name in reads(inner)] + [value.name for value in graph.output]
        found.update(dict.fromkeys(name for name in wanted if name and name not in own))
    return list(found)


def reads(node: onnx.NodeProto) -> list[str]:
    """Names of all tensors of its graph that a node uses, those inside its branches and loops included, each once."""
    return list(dict.fromkeys((*(name for name in node.input if name), *captured(node))))


def drop_unused(graph: onnx.GraphProto) -> None:
    """Drops the weights of a graph that nobody uses.

    Args:
        graph: The graph, changed in place.
    """
    used = {name for node in graph.node for name in reads(node)} | {value.name for value in graph.output}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(weights)
