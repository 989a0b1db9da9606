"""A plan: elements, the wires between them, and what holds for all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from lineside.pipelines.catalog import Kind, Options, kind_of
from lineside.pipelines.link import Policy
from lineside.pipelines.tails import Machine

__all__ = ["MOST", "NAME", "Late", "Node", "Plan", "Takt", "Wire"]

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
"""Names of elements: they become part of files' names."""
MOST = 500
"""Elements of one plan, tees and queues among them; no machine runs as many."""

Late = Literal["keep", "mark", "drop"]
"""What becomes of a result after its deadline: handed on as any other, handed on and said to be late, or not handed on."""


@dataclass(frozen=True)
class Node:
    """An element of a plan.

    Attributes:
        name: Its name, unique in the plan.
        element: Its kind, see `lineside.pipelines.catalog`.
        options: What it is told.
        where: Where the plan's text names it, for messages.
    """

    name: str
    element: str
    options: Options
    where: str = field(default="", compare=False)

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return kind_of(self.element)


@dataclass(frozen=True)
class Wire:
    """Frames go from one element to another.

    Attributes:
        source: Name of the element that gives them.
        target: Name of the one that takes them.
        policy: What the queue between them does when it is full; None for what is usual there.
        priority: How urgent it is among those that wait for the same model, where that goes by priority.
    """

    source: str
    target: str
    policy: Policy | None = None
    priority: int = 0


@dataclass(frozen=True)
class Takt:
    """When a part has to be decided.

    Attributes:
        deadline_ns: Time from trigger (or capture) to decision; None for any.
        late: What becomes of a result after that.
        per_source: Deadlines of single sources by name, in place of the common one.
    """

    deadline_ns: int | None = None
    late: Late = "mark"
    per_source: Mapping[str, int] = field(default_factory=dict)

    def deadline_of(self, source: str) -> int | None:
        """Time that a source's parts have, in ns; None for any."""
        return self.per_source.get(source, self.deadline_ns)


@dataclass(frozen=True)
class Plan:
    """Everything that a station is to do.

    Attributes:
        nodes: The elements by name, in the order of the text.
        wires: What goes where, in the order of the text.
        takt: When a part has to be decided.
        name: What the station is called.
        machine: How it uses its machine.
    """

    nodes: Mapping[str, Node]
    wires: tuple[Wire, ...]
    takt: Takt = Takt()
    name: str = "station"
    machine: Machine = field(default_factory=Machine)

    @cached_property
    def _wired(self) -> tuple[dict[str, list[Wire]], dict[str, list[Wire]]]:
        """Wires by the element that they begin at, and by the one they end at."""
        begin: dict[str, list[Wire]] = {}
        end: dict[str, list[Wire]] = {}
        for wire in self.wires:
            begin.setdefault(wire.source, []).append(wire)
            end.setdefault(wire.target, []).append(wire)
        return begin, end

    def after(self, name: str) -> list[Wire]:
        """Wires that begin at an element."""
        return self._wired[0].get(name, [])

    def before(self, name: str) -> list[Wire]:
        """Wires that end at an element."""
        return self._wired[1].get(name, [])

    def in_order(self) -> list[str]:
        """Names of the elements, each behind all that it gets frames from; those that a circle leads to are left out."""
        missing = {name: len(self.before(name)) for name in self.nodes}
        order = [name for name, count in missing.items() if not count]
        for name in order:
            for wire in self.after(name):
                missing[wire.target] -= 1
                if not missing[wire.target]:
                    order.append(wire.target)
        return order
