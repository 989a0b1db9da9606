"""Rules about recurrences: unrolled loops, and the form of a selective scan that overflows."""

from __future__ import annotations

from collections.abc import Iterator

from lineside.export.doctor.graph_view import GraphView, Place
from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import GraphSubject

__all__ = ["LONGEST_CHAIN", "MOST_NODES", "RULES"]

LONGEST_CHAIN = 48
"""Steps ``h = a * h + b`` in a row beyond which a loop was unrolled; the safe forms in few steps stay far below."""

MOST_NODES = 4000
"""Nodes of a graph that are still loaded in a moment; a YOLO11 has 360."""

SHAPING = frozenset({"Reshape", "Transpose", "Slice", "Unsqueeze", "Squeeze", "Expand", "Cast", "Gather", "Identity"})
"""Operators that move numbers and leave them as they are."""


def _unrolled(subject: GraphSubject) -> Iterator[Hit]:
    length, place = _longest_chain(subject.view)
    if place is not None and length > LONGEST_CHAIN:
        yield Hit(place.where, {"length": length, "nodes": len(list(subject.view.top))})


def _longest_chain(view: GraphView) -> tuple[int, Place | None]:
    """The longest row of additions of which each adds to a multiple of the one before; nodes are in order."""
    length: dict[str, int] = {}
    best: tuple[int, Place | None] = (0, None)
    for place in view.top:
        node = place.node
        before = max((length.get(name, 0) for name in node.input), default=0)
        if node.op_type == "Add" and any(_kind(view, name) in ("Mul", "MatMul") for name in node.input):
            before += 1
        elif node.op_type not in SHAPING and node.op_type != "Mul":
            before = 0
        for name in node.output:
            length[name] = before
        if before > best[0]:
            best = (before, place)
    return best


def _kind(view: GraphView, name: str) -> str:
    place = view.producers.get(name)
    return place.node.op_type if place is not None else ""


def _overflowing(subject: GraphSubject) -> Iterator[Hit]:
    """A running sum of products with ``exp(-S)``, where S is a running sum itself: grows until it overflows."""
    view = subject.view
    for place in view.top:
        if place.node.op_type != "CumSum":
            continue
        product = _source(view, place.node.input[0])
        factors = product.node.input if product is not None and product.node.op_type in ("Mul", "Div") else ()
        for name in factors:
            power = _source(view, name)
            if power is not None and power.node.op_type == "Exp" and _from_sum(view, power.node.input[0]):
                yield Hit(place.where)


def _source(view: GraphView, name: str) -> Place | None:
    """The node that computes a tensor, across those that only move numbers."""
    place = view.producers.get(name)
    while place is not None and place.node.op_type in SHAPING:
        place = view.producers.get(place.node.input[0])
    return place


def _from_sum(view: GraphView, name: str) -> bool:
    """Whether a tensor is a running sum, its sign or scale changed at most."""
    names, seen = [name], {name}
    while names:
        place = _source(view, names.pop())
        if place is not None and place.node.op_type == "CumSum":
            return True
        if place is not None and place.node.op_type in ("Neg", "Mul", "Sub"):
            names += [it for it in place.node.input if it not in seen]
            seen.update(place.node.input)
    return False


def _many(subject: GraphSubject) -> Iterator[Hit]:
    count = len(subject.view.places)
    if count > MOST_NODES:
        yield Hit("graph", {"count": count})


RULES = (
    Rule(
        id="unrolled-scan",
        looks_at="graph",
        severity="slow",
        find=_unrolled,
        reason="{length} steps h = a * h + b stand one behind the other among {nodes} nodes: a loop that was unrolled, which "
        "takes minutes to optimise and depends on the input size",
        remedy="use a Scan (SelectiveScan of lineside.export.ops), or a form with a number of steps that grows with the root "
        "of the length",
    ),
    Rule(
        id="overflowing-scan",
        looks_at="graph",
        severity="cannot-run",
        find=_overflowing,
        reason="a running sum of exp(-S) with S a running sum: float32 ends at exp(88), so ordinary steps of a selective scan "
        "give infinity times zero, NaN",
        remedy="use SelectiveScan of lineside.export.ops, whose factors never exceed one",
    ),
    Rule(
        id="many-nodes",
        looks_at="graph",
        severity="slow",
        find=_many,
        reason="{count} nodes: loading and optimising takes longer than they run",
        remedy="look for loops over channels, windows or positions in the model and write them as one operation",
    ),
)
"""Rules about recurrences."""
