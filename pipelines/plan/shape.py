"""What a plan means: which source is looked at by which model, and where the results go. Refuses what has no meaning."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from lineside.pipelines.link import Policy
from lineside.pipelines.own import is_own
from lineside.pipelines.plan.data import Node, Plan, Wire
from lineside.runtime.errors import StationError

__all__ = ["Branch", "Outlet", "Shape", "shape_of"]


@dataclass(frozen=True)
class Outlet:
    """A way from a decided frame (or straight from a source) to a sink.

    Attributes:
        sink: The sink.
        policy: What the queue in front of it does when it is full; None for what is usual.
        chain: Transforms on the way, which work in the sink's own thread.
    """

    sink: Node
    policy: Policy | None = None
    chain: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Branch:
    """One model's look at one source.

    Attributes:
        source: The source.
        model: The model.
        policy: What the queue in front of the model does when it is full; None for what is usual.
        before: Transforms ahead of the model, such as a region; from any thread.
        after: Transforms behind it that see the frames in the order of capture, such as a tracker.
        outlets: Where the results go.
        priority: How urgent the source is for the model.
    """

    source: Node
    model: Node
    policy: Policy | None
    before: tuple[Node, ...]
    after: tuple[Node, ...]
    outlets: tuple[Outlet, ...]
    priority: int = 0


@dataclass(frozen=True)
class Shape:
    """A plan, understood.

    Attributes:
        plan: The plan.
        sources: Its sources.
        branches: Every look of a model at a source.
        direct: By source: sinks that get its frames without any model.
    """

    plan: Plan
    sources: tuple[Node, ...]
    branches: tuple[Branch, ...]
    direct: dict[str, tuple[Outlet, ...]]

    @property
    def sinks(self) -> tuple[Node, ...]:
        """Its sinks."""
        return tuple(node for node in self.plan.nodes.values() if node.kind.role == "sink")

    @property
    def models(self) -> tuple[Node, ...]:
        """Its models."""
        return tuple(node for node in self.plan.nodes.values() if node.kind.role == "model")


def shape_of(plan: Plan, name: str = "the station") -> Shape:
    """Understands a plan.

    Args:
        plan: The plan.
        name: What its text is called in messages.

    Raises:
        StationError: The elements do not fit each other; the message names those that do not, and what to do.
    """
    reader = _Reader(plan, name)
    reader.check()
    sources = tuple(node for node in plan.nodes.values() if node.kind.role == "source")
    branches: list[Branch] = []
    direct: dict[str, tuple[Outlet, ...]] = {}
    for source in sources:
        branches += reader.branches(source)
        direct[source.name] = tuple(reader.direct(source))
    for late in plan.takt.per_source:
        if late not in {source.name for source in sources}:
            raise StationError(f"{name}: takt names '{late}', which is no source; there are: {', '.join(direct)}")
    return Shape(plan, sources, tuple(branches), direct)


class _Reader:
    """Walks through a plan."""

    def __init__(self, plan: Plan, name: str) -> None:
        self._plan = plan
        self._name = name

    def check(self) -> None:
        """Every element has what it needs before and behind it, and no frame goes round in a circle."""
        if not any(node.kind.role == "source" for node in self._plan.nodes.values()):
            raise StationError(
                f"{self._name} has no source; begin with one, such as rtsp, file or synthetic (`lineside elements`)"
            )
        for node in self._plan.nodes.values():
            role, into, out = node.kind.role, self._plan.before(node.name), self._plan.after(node.name)
            if role == "source" and into:
                self._refuse(node, f"is a source and cannot take frames from '{into[0].source}'")
            if role == "sink" and out:
                self._refuse(node, f"is a sink and hands nothing on to '{out[0].target}'; put a tee before it")
            if role != "source" and not into:
                self._refuse(node, "gets no frames; join it to something with '!', or leave it out")
            if role != "sink" and not out:
                self._refuse(node, "leads nowhere; end with a sink such as jsonl, csv or view")
        self._check_circles()
        self._check_names()
        self._check_paths()

    def _check_circles(self) -> None:
        """Refuses frames that come back to where they were."""
        outside = set(self._plan.in_order())
        inside = next((name for name in self._plan.nodes if name not in outside), None)
        passed: set[str] = set()
        while inside is not None and inside not in passed:  # backwards, until it comes round
            passed.add(inside)
            inside = next(wire.source for wire in self._plan.before(inside) if wire.source not in outside)
        if inside is not None:
            self._refuse(self._plan.nodes[inside], "gets its own frames back; a graph has no circles")

    def _check_names(self) -> None:
        """Refuses names that meet where a sink has its source's name behind its own."""
        nodes = self._plan.nodes.values()
        sources = [node.name for node in nodes if node.kind.role == "source"]
        taken: dict[str, Node] = dict(self._plan.nodes)
        for node in nodes if len(sources) > 1 else ():
            for source in sources if node.kind.role == "sink" and node.kind.each else ():
                if (name := f"{node.name}-{source}") in taken:
                    self._refuse(node, f"needs the name '{name}' for '{source}', which is taken; give one another name")
                taken[name] = node

    def _check_paths(self) -> None:
        """Refuses sinks that would write over each other."""
        taken: dict[str, Node] = {}
        for node in self._plan.nodes.values():
            if node.kind.role != "sink" or is_own(node.element):
                continue
            for option in ("path", "events"):
                path = getattr(node.options, option, None)
                if not isinstance(path, str) or (option == "events" and not path):
                    continue
                other = taken.setdefault(os.path.normpath(os.path.expanduser(path)), node)
                if other is not node:
                    self._refuse(node, f"writes to '{path}', and so does '{other.name}'; give it another {option}=")

    def _refuse(self, node: Node, why: str) -> None:
        where = f" (at {node.where})" if node.where else ""
        raise StationError(f"{self._name}: '{node.name}'{where} {why}")

    def branches(self, source: Node) -> Iterator[Branch]:
        """Looks at one source."""
        for wires, path in self._ways(source):
            if path[-1].kind.role != "model":
                continue
            *before, model = path
            for node in before:
                if node.kind.ordered or node.kind.shows:
                    self._refuse(node, f"works on results and stands before the model '{model.name}'; move it behind")
            priority = max(wire.priority for wire in wires)
            yield Branch(source, model, self._queue(wires, model), tuple(before), *self._behind(model), priority)

    def direct(self, source: Node) -> Iterator[Outlet]:
        """Sinks that a source feeds without a model."""
        for wires, path in self._ways(source):
            *chain, sink = path
            if sink.kind.role == "sink":
                for node in chain:
                    if node.kind.ordered:
                        self._refuse(node, "works on results, and there is no model before it")
                if sink.kind.results:
                    self._refuse(sink, "writes down what a model found, and there is no model before it")
                yield Outlet(sink, self._queue(wires, sink), tuple(chain))

    def _behind(self, model: Node) -> tuple[tuple[Node, ...], tuple[Outlet, ...]]:
        """What follows a model: transforms that all sinks share, and the ways to the sinks."""
        trunk: list[Node] = []
        node, wires = model, self._plan.after(model.name)
        while len(wires) == 1 and (following := self._plan.nodes[wires[0].target]).kind.role == "transform":
            if following.kind.shows or wires[0].policy is not None:
                break
            trunk.append(following)
            node, wires = following, self._plan.after(following.name)
        outlets = []
        for passed, path in self._ways(node):
            *chain, sink = path
            if sink.kind.role == "model":
                self._refuse(sink, f"stands behind the model '{model.name}'; give it frames of a source")
            outlets.append(Outlet(sink, self._queue(passed, sink), tuple(chain)))
        return tuple(trunk), tuple(outlets)

    def _ways(self, node: Node) -> Iterator[tuple[tuple[Wire, ...], tuple[Node, ...]]]:
        """All ways from an element to what ends them: a sink, or the next model. To each there is one."""
        ends: set[str] = set()
        nodes = self._plan.nodes
        left: list[tuple[tuple[Wire, ...], tuple[Node, ...]]] = [
            ((wire,), (nodes[wire.target],)) for wire in reversed(self._plan.after(node.name))
        ]
        while left:
            wires, path = left.pop()
            end = path[-1]
            if end.kind.role == "transform":
                following = reversed(self._plan.after(end.name))
                left += [((*wires, wire), (*path, nodes[wire.target])) for wire in following]
                continue
            if end.name in ends:
                self._refuse(
                    end,
                    f"is reached from '{node.name}' by two ways, and nobody could tell their frames apart; lead one of them "
                    "to another element of its kind",
                )
            ends.add(end.name)
            yield wires, path

    def _queue(self, wires: tuple[Wire, ...], end: Node) -> Policy | None:
        """Policy of the one queue on a way."""
        said = [wire.policy for wire in wires if wire.policy is not None]
        if len(said) > 1:
            self._refuse(end, "is reached through several queues; one before it says it all")
        return said[0] if said else None
