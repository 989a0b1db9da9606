"""Launch strings, in the manner of GStreamer's: ``source option=value ! segment bundle=… ! tee name=t  t. ! sink``.

An exclamation mark by itself hands frames on. A word with a dot at its end stands for the element of that name; ``name=``
gives one. ``tee`` hands the same frame to several, ``queue policy=…`` says what happens when the next one is slow. Neither
is left in the plan: a tee becomes several wires, a queue the policy of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import msgspec

from lineside.pipelines.catalog import kind_of, options_of
from lineside.pipelines.link import Policy
from lineside.pipelines.own import located
from lineside.pipelines.plan.data import MOST, NAME, Node, Plan, Takt, Wire
from lineside.pipelines.plan.text import discreet
from lineside.pipelines.plan.words import Word, words
from lineside.pipelines.typed import converted
from lineside.runtime.errors import BadOption, StationError

__all__ = ["Rows", "parse_launch", "rows"]

TEE, QUEUE = "tee", "queue"


def parse_launch(text: str, takt: Takt = Takt(), name: str = "the launch string", folder: Path = Path()) -> Plan:
    """Reads a launch string.

    Args:
        text: The string.
        takt: When a part has to be decided.
        name: What the string is called in messages.
        folder: What the files of the user's own elements are relative to.

    Raises:
        StationError: It says something that cannot be meant; the message names the place.
    """
    with discreet():
        found = Rows(name, folder=folder)
        found.read(text)
        return Plan(found.nodes, found.wires(), takt)


class _Tee(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a tee is told: nothing but its name."""


class _Queue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a queue is told."""

    policy: str
    priority: int = 0


@dataclass
class _Stop:
    """An element as it stands in a row, before it is known what its options are."""

    element: str
    word: Word
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Joint:
    """A tee, or a queue with what it says."""

    policy: Policy | None = None
    priority: int = 0


class Rows:
    """Reads rows of elements one after the other; names hold for all of them.

    Args:
        name: What the text is called in messages.
        known: Elements that have been declared elsewhere, by name: a row may name them without a dot.
        folder: What the files of the user's own elements are relative to.
    """

    def __init__(self, name: str, known: Mapping[str, Node] | None = None, folder: Path = Path()) -> None:
        self.nodes: dict[str, Node] = dict(known or {})
        self._name = name
        self._folder = folder
        self._declared = frozenset(self.nodes)
        self._joints: dict[str, _Joint] = {}
        self._steps: list[tuple[str, str, str]] = []
        self._wanted: list[tuple[str, str]] = []

    def read(self, text: str, at: str = "") -> None:
        """Reads a text with one or more rows.

        Args:
            text: The text.
            at: Its place in the file, for messages.

        Raises:
            StationError: It says something that cannot be meant.
        """
        for row in rows(text, self._name):
            names = [self._placed(stop, at) for stop in row]
            place = f"{at} column {row[0].word.column}".strip()
            self._steps += [(one, other, place) for one, other in pairwise(names)]

    def wires(self) -> tuple[Wire, ...]:
        """All that is handed on, with tees and queues taken out.

        Raises:
            StationError: A name stands for nothing, or a tee or queue leads nowhere.
        """
        for name, place in self._wanted:
            if name not in self.nodes and name not in self._joints:
                raise StationError(f"{self._name} names '{name}.' at {place}, and no element has that name")
        onward: dict[str, list[str]] = {}
        before: Counter[str] = Counter()
        for source, target, _ in self._steps:
            onward.setdefault(source, []).append(target)
            before[target] += 1
        for joint in self._joints:
            if before[joint] != 1 or joint not in onward:
                raise StationError(
                    f"{self._name}: '{joint}' stands between elements; it has {before[joint]} before it and needs one before "
                    "and at least one behind"
                )
        found = [
            wire
            for source, target, _ in self._steps
            if source in self.nodes
            for wire in self._ends(source, target, onward)
        ]
        joined: set[tuple[str, str]] = set()
        for wire in found:
            if (wire.source, wire.target) in joined:
                raise StationError(f"{self._name}: '{wire.source}' is joined to '{wire.target}' twice; once is enough")
            joined.add((wire.source, wire.target))
        return tuple(found)

    def _ends(self, source: str, target: str, onward: Mapping[str, list[str]]) -> Iterator[Wire]:
        """Wires from an element along one step, through tees and queues, of which each has one element before it."""
        left = [(target, _Joint())]
        while left:
            place, queue = left.pop()
            if place in self.nodes:
                yield Wire(source, place, queue.policy, queue.priority)
                continue
            mine = self._joints[place]
            if mine.policy is not None and queue.policy is not None:
                raise StationError(f"{self._name}: two queues stand behind each other at '{place}'; one says it all")
            left += [(other, queue if mine.policy is None else mine) for other in reversed(onward[place])]

    def _placed(self, stop: _Stop, at: str) -> str:
        """Name of the element that a stop stands for; made where it is new."""
        place = f"{at} column {stop.word.column}".strip()
        if stop.word.bare and (stop.element.endswith(".") or stop.element in self._declared):
            if stop.options:
                raise StationError(
                    f"{self._name}: '{stop.element}' at {place} stands for an element that has its options"
                )
            self._wanted.append((stop.element.removesuffix("."), place))
            return stop.element.removesuffix(".")
        name = stop.options.pop("name", None)
        if name is None:
            name = self._free(stop.element.rpartition(":")[2])
        else:
            self._named(name, place)
        if len(self.nodes) + len(self._joints) >= MOST:
            raise StationError(f"{self._name} has more than {MOST} elements; make several stations of it")
        if name in self.nodes or name in self._joints:
            raise StationError(f"{self._name}: two elements have the name '{name}', the second at {place}")
        if stop.element in (TEE, QUEUE):
            self._joints[name] = self._joint(stop, place)
            return name
        element = located(stop.element, self._folder)
        kind_of(element, f"{self._name}, {place}")
        options = options_of(element, stop.options, self._name, at=f"{place} ({stop.element})", text=True)
        self.nodes[name] = Node(name, element, options, place)
        return name

    def _named(self, name: str, place: str) -> None:
        """Refuses a name that is none."""
        if not NAME.fullmatch(name):
            raise StationError(
                f"{self._name}: the name '{name}' at {place} is none: it begins with a letter and has letters, digits, - "
                "and _, no more than 100"
            )

    def _joint(self, stop: _Stop, place: str) -> _Joint:
        """What a tee or a queue says."""
        at = f"{place} ({stop.element})"
        if stop.element == TEE:
            converted(stop.options, _Tee, self._name, at=at)
            return _Joint()
        said = converted(stop.options, _Queue, self._name, at=at, text=True)
        try:
            return _Joint(Policy.parse(said.policy), said.priority)
        except BadOption as error:
            raise StationError(f"{self._name} is wrong at `{at}`: {error}") from None

    def _free(self, element: str) -> str:
        """A name for an element without one: its kind, with a number where that is taken."""
        taken = {*self.nodes, *self._joints}
        name, number = element, 2
        while name in taken:
            name, number = f"{element}{number}", number + 1
        return name


def rows(text: str, name: str) -> Iterator[list[_Stop]]:
    """The rows of a text: elements with an exclamation mark between them.

    Args:
        text: The text.
        name: What it is called in messages.

    Raises:
        StationError: A sign stands where it means nothing.
    """
    row: list[_Stop] = []
    joined = True  # the next element belongs to this row
    for word in words(text):
        if word.bare and word.text == "!":
            if joined:
                raise StationError(f"{name}: the '!' at column {word.column} has no element before it")
            joined = True
        elif word.text.split("=", 1)[0].isidentifier() and "=" in word.text and not (joined and row):
            if not row:
                raise StationError(f"{name} begins with '{word.text}'; the name of an element comes first")
            key, _, value = word.text.partition("=")
            if key in row[-1].options:
                raise StationError(f"{name}: {key}= stands twice at column {word.column}")
            row[-1].options[key] = value
        else:
            if row and not joined:
                yield row
                row = []
            row.append(_Stop(word.text, word))
            joined = False
    if not row:
        raise StationError(
            f"{name} is empty; write for example: synthetic ! segment bundle=NAME.bundle ! jsonl path=out.jsonl"
        )
    if joined:
        raise StationError(f"{name} ends with a '!'; an element comes behind it")
    yield row
