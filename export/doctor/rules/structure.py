"""Rules about graphs that are none: no engine loads them, and no other rule can walk through them."""

from __future__ import annotations

from collections.abc import Iterator

from lineside.export.doctor.graph_view import KINDS, GraphView
from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import GraphSubject

__all__ = ["RULES"]


def _broken(subject: GraphSubject) -> Iterator[Hit]:
    view = subject.view
    yield from _short_nodes(view)
    yield from _shapeless_weights(view)
    yield from _circles(view)
    yield from _recursion(view)


def _short_nodes(view: GraphView) -> Iterator[Hit]:
    """Nodes with fewer inputs or outputs than their operator has."""
    for place in view.places:
        schema = view.schema(place, view.opset(place)) if view.called(place.node) is None else None
        least = (schema.min_input, schema.min_output) if schema is not None else (0, 1)
        for names, count, what in ((place.node.input, least[0], "inputs"), (place.node.output, least[1], "outputs")):
            if len(names) < count:
                kind = place.node.op_type or "this node"
                yield Hit(place.where, {"what": f"{kind} has {len(names)} {what}, and needs {count} at least"})


def _shapeless_weights(view: GraphView) -> Iterator[Hit]:
    for tensor in view.initializers.values():
        if tensor.data_type not in KINDS or not tensor.data_type or min(tensor.dims, default=0) < 0:
            yield Hit(f"tensor {tensor.name}", {"what": "a constant has no element type or no possible shape"})


def _circles(view: GraphView) -> Iterator[Hit]:
    """A node that waits for itself."""
    top = list(view.top)
    waits = {index: {name for name in place.node.input if name in view.producers} for index, place in enumerate(top)}
    users: dict[str, list[int]] = {}
    for index, names in waits.items():
        for name in names:
            users.setdefault(name, []).append(index)
    ready = [index for index, names in waits.items() if not names]
    while ready:
        for name in top[ready.pop()].node.output:
            for user in users.get(name, []):
                if name in waits[user]:
                    waits[user].discard(name)
                    ready += [] if waits[user] else [user]
    stuck = next((index for index, names in waits.items() if names), None)
    if stuck is not None:
        yield Hit(top[stuck].where, {"what": "nodes wait for each other in a circle"})


def _recursion(view: GraphView) -> Iterator[Hit]:
    """Functions that come back to themselves."""
    calls = {
        key: {
            ("" if node.domain == "ai.onnx" else node.domain, node.op_type, node.overload) for node in function.node
        } & view.functions.keys()
        for key, function in view.functions.items()
    }  # fmt: skip
    while calls:
        leaves = {key for key, called in calls.items() if not called & calls.keys()}
        if not leaves:
            yield Hit(f"function {min(calls)[1]}", {"what": "a function calls itself"})
            return
        calls = {key: called for key, called in calls.items() if key not in leaves}


RULES = (
    Rule(
        id="broken-graph",
        looks_at="structure",
        severity="cannot-run",
        find=_broken,
        reason="the file is no valid graph: {what}; no engine loads it, and nothing else can be said of it",
        remedy="export it again, and look at it with onnx.checker.check_model",
    ),
)
"""Rules about what makes a graph one."""
