"""Brings the nodes of a graph into an order in which each comes after what it needs.

The format asks for that order, engines do without it, and some exporters leave nodes behind at the end of the list.
"""

from __future__ import annotations

import onnx

from lineside.export.graph.inside import reads

__all__ = ["in_order"]


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
