"""A plan in words and as a picture."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from typing import Any

import msgspec

from lineside.pipelines.catalog import watched
from lineside.pipelines.names import printable
from lineside.pipelines.plan.data import Node, Plan
from lineside.pipelines.plan.shape import Shape
from lineside.pipelines.secrets import SECRET_OPTIONS, redacted

__all__ = ["as_svg", "as_text"]

_BOX, _ROW, _COLUMN, _MARGIN = (200, 46), 70, 290, 20
"""Size of a box in the picture, and the way from one to the next below and to the right; px."""
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Signs that no XML document may hold (XML 1.0, 2.2)."""


def as_text(shape: Shape) -> str:
    """The plan as lines: each source with what looks at it, and where the results go.

    Args:
        shape: The plan, understood.
    """
    lines: list[str] = []
    for source in shape.sources:
        lines.append(_words(source))
        for branch in (it for it in shape.branches if it.source is source):
            lines.append(f"  {_queue(branch.policy, source)} {_chain((*branch.before, branch.model, *branch.after))}")
            lines += (f"    {_queue(it.policy)} {_chain((*it.chain, it.sink))}" for it in branch.outlets)
        lines += (f"  {_queue(it.policy, source)} {_chain((*it.chain, it.sink))}" for it in shape.direct[source.name])
    takt = shape.plan.takt
    for source in shape.sources:
        deadline = takt.deadline_of(source.name)
        if deadline is not None:
            lines.append(f"deadline {source.name}: {deadline / 1e6:g} ms, late results: {takt.late}")
    return "\n".join(lines) + "\n"


def _chain(nodes: tuple[Node, ...]) -> str:
    return " ! ".join(map(_words, nodes))


def _words(node: Node) -> str:
    """An element as a launch string has it."""
    named = f" name={node.name}" if node.name != node.element else ""
    return printable(redacted(f"{node.element}{named}{''.join(f' {key}={value}' for key, value in _said(node))}"))


def _said(node: Node) -> Iterator[tuple[str, Any]]:
    """Options that are not what they are by themselves."""
    for field in msgspec.structs.fields(node.options):
        value = getattr(node.options, field.name)
        if value != field.default and field.name in SECRET_OPTIONS:
            yield field.name, "***"
        elif value != field.default:
            plain = msgspec.to_builtins(value)
            yield field.name, value if isinstance(value, str) else json.dumps(plain, ensure_ascii=False)


def _queue(policy: object, source: Node | None = None) -> str:
    """The queue in front of an element; where nobody chose one, what is usual there."""
    if policy is not None:
        return f"-[{policy}]->"
    if source is not None:
        return "-[latest]->" if watched(source.element, source.options) else "-[every]->"
    return "->"


def as_svg(plan: Plan) -> str:
    """The plan as a picture: sources on the left, sinks on the right.

    Args:
        plan: The plan; it has no circles.

    Returns:
        An SVG document that needs nothing from outside.
    """
    places = _places(plan)
    width = max(x for x, _ in places.values()) + _BOX[0] + _MARGIN
    height = max(y for _, y in places.values()) + _BOX[1] + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f"<title>{escape(plan.name)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
        *(_arrow(places[wire.source], places[wire.target], wire.policy) for wire in plan.wires),
        *(_box(node, places[node.name]) for node in plan.nodes.values()),
        "</svg>",
    ]
    return _NO_XML.sub("?", printable("\n".join(parts) + "\n"))


def _places(plan: Plan) -> dict[str, tuple[int, int]]:
    """Where each box stands: as far to the right as the longest way to it, one below the other."""
    depth: dict[str, int] = {}
    for name in plan.in_order():
        depth[name] = max((depth[wire.source] + 1 for wire in plan.before(name)), default=0)
    taken: dict[int, int] = {}
    places = {}
    for name in plan.nodes:
        column = depth[name]
        row = taken.get(column, 0)
        taken[column] = row + 1
        places[name] = (_MARGIN + column * _COLUMN, _MARGIN + row * _ROW)
    return places


_FILL = {"source": "#dceefb", "model": "#fdebc8", "transform": "#f3f3f3", "sink": "#dff3df"}


def _box(node: Node, place: tuple[int, int]) -> str:
    x, y = place
    title = redacted(_words(node))
    return (
        f'<g><title>{escape(title)}</title><rect x="{x}" y="{y}" width="{_BOX[0]}" height="{_BOX[1]}" rx="6" '
        f'fill="{_FILL[node.kind.role]}" stroke="#555"/>'
        f'<text x="{x + 10}" y="{y + 19}" font-weight="bold">{escape(_short(node.name))}</text>'
        f'<text x="{x + 10}" y="{y + 36}" fill="#333">{escape(_short(f"{node.element}: {node.kind.says}"))}</text></g>'
    )


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:29]}…"


def _arrow(source: tuple[int, int], target: tuple[int, int], policy: object) -> str:
    x1, y1 = source[0] + _BOX[0], source[1] + _BOX[1] // 2
    x2, y2 = target[0], target[1] + _BOX[1] // 2
    bend = (x1 + x2) // 2
    label = f'<text x="{bend}" y="{(y1 + y2) // 2 - 4}" text-anchor="middle">{policy}</text>' if policy else ""
    return (
        f'<path d="M{x1} {y1} C{bend} {y1} {bend} {y2} {x2 - 1} {y2}" fill="none" stroke="#555" '
        f'marker-end="url(#tip)"/>{label}'
    )
