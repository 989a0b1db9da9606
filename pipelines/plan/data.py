"""A plan: elements, the wires between them, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lineside.pipelines.catalog import Kind, Options, kind_of
from lineside.pipelines.link import Policy
from lineside.pipelines.tails import Machine

__all__ = ["Late", "Node", "Plan", "Takt", "Wire"]

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

    def after(self, name: str) -> list[Wire]:
        """Wires that begin at an element."""
        return [wire for wire in self.wires if wire.source == name]

    def before(self, name: str) -> list[Wire]:
        """Wires that end at an element."""
        return [wire for wire in self.wires if wire.target == name]
