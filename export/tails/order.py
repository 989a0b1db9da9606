"""Brings the nodes of a graph into an order in which each comes after what it needs.

The format asks for that order, engines do without it, and some exporters leave nodes behind at the end of the list.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

__all__ = ["in_order", "reads"]


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names of all tensors that a node uses, those inside its branches and loops included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from reads(inner)


def in_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model with its nodes in order.

    Args:
        model: A graph without cycles; left as it was.

    Returns:
        The copy. Nodes of a cycle would be left out.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes = list(model.graph.node)
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needs = [{makers[name] for name in reads(node) if name in makers} for node in nodes]
    users: list[list[int]] = [[] for _ in nodes]
    for index, needed in enumerate(needs):
        for other in needed:
            users[other].append(index)
    ready = [index for index, needed in enumerate(needs) if not needed][::-1]
    order: list[int] = []
    while ready:
        index = ready.pop()
        order.append(index)
        for user in users[index]:
            needs[user].discard(index)
            if not needs[user]:
                ready.append(user)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes[index] for index in order)
    return copy
