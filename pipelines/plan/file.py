"""A station file that names its elements and how they are joined.

::

    station: 1
    name: bearing line
    elements:
      top: {rtsp: {url: "rtsp://10.0.0.7/stream"}}
      model: {segment: {bundle: bearing.bundle, conf: 0.3}}
      lines: {jsonl: {path: results/lines.jsonl}}
    links:
      - top ! queue policy=latest ! model ! lines
    takt: {deadline: 400ms, late: mark}

Links are rows of a launch string, in which the elements above go by their names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from lineside.pipelines.catalog import kind_of, options_of
from lineside.pipelines.own import located
from lineside.pipelines.plan.data import MOST, NAME, Late, Node, Plan, Takt
from lineside.pipelines.plan.launch import Rows
from lineside.pipelines.plan.text import discreet
from lineside.pipelines.tails import Machine
from lineside.pipelines.units import parse_time
from lineside.runtime.errors import BadOption, StationError

__all__ = ["StationGraph", "StationTakt", "plan_of", "takt_of"]

Text = Annotated[str, msgspec.Meta(min_length=1)]


class StationTakt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a part has to be decided.

    Attributes:
        deadline: Time from trigger (or capture) to decision, such as 400ms.
        late: What becomes of a result after that: ``keep`` hands it on as any other, ``mark`` says so in it, ``drop`` hands
            it to nobody.
        sources: Deadlines of single sources, by name.
    """

    deadline: Text | None = None
    late: Late = "mark"
    sources: dict[str, Text] = {}


class StationGraph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A station file with elements and links.

    Attributes:
        station: Version of the form.
        name: What the station is called.
        elements: By name: the kind of element, with what it is told.
        links: Rows of elements with ``!`` between them.
        takt: When a part has to be decided.
        machine: How it uses its machine.
    """

    station: Literal[1]
    elements: dict[str, dict[str, dict[str, Any] | None]]
    links: Text | list[Text]
    name: Text = "station"
    takt: StationTakt = StationTakt()
    machine: Machine = Machine()


def plan_of(graph: StationGraph, name: str, folder: Path = Path()) -> Plan:
    """The plan that a station file describes.

    Args:
        graph: What the file says.
        name: What the file is called in messages.
        folder: What the files of the user's own elements are relative to: the station file's own folder.

    Raises:
        StationError: It says something that cannot be meant; the message names the place in the file.
    """
    with discreet():
        return _plan_of(graph, name, folder)


def _plan_of(graph: StationGraph, name: str, folder: Path) -> Plan:
    nodes = {}
    if len(graph.elements) > MOST:
        raise StationError(f"{name} has more than {MOST} elements; make several stations of it")
    for key, said in graph.elements.items():
        at = f"elements.{key}"
        if not NAME.fullmatch(key) or key in ("tee", "queue"):
            raise StationError(
                f"{name} is wrong at `{at}`: a name has letters, digits, - and _, and is not tee or queue"
            )
        if len(said) != 1:
            raise StationError(
                f"{name} is wrong at `{at}`: write one kind of element, such as {{jsonl: {{path: a.jsonl}}}}"
            )
        ((element, options),) = said.items()
        element = located(element, folder)
        kind_of(element, f"{name} at `{at}`")
        nodes[key] = Node(key, element, options_of(element, options or {}, name, at=f"{at}.{element}"), at)
    rows = Rows(name, nodes, folder)
    for number, row in enumerate([graph.links] if isinstance(graph.links, str) else graph.links):
        rows.read(row, f"links[{number}]")
    return Plan(rows.nodes, rows.wires(), takt_of(graph.takt, name), graph.name, graph.machine)


def takt_of(said: StationTakt, name: str) -> Takt:
    """The takt that a file describes.

    Raises:
        StationError: A time is none.
    """
    return Takt(
        None if said.deadline is None else _time(said.deadline, name, "takt.deadline"),
        said.late,
        {source: _time(text, name, f"takt.sources.{source}") for source, text in said.sources.items()},
    )


def _time(text: str, name: str, at: str) -> int:
    try:
        return parse_time(text)
    except BadOption as error:
        raise StationError(f"{name} is wrong at `{at}`: {error}") from None
