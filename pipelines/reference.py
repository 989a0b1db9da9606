"""What each element is and may be told, read from the very structs that read it; for ``lineside elements`` and the documents."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect as types

from lineside.pipelines.catalog import ELEMENTS, Options, Role, kind_of, struct_of
from lineside.pipelines.typed import choices, parts

__all__ = ["Described", "Option", "as_markdown", "described"]

_ROLES: dict[Role, str] = {"source": "Sources", "transform": "Transforms", "model": "Models", "sink": "Sinks"}
_HEAD = """# Elements

<!-- Written by scripts/elements.py from the options in the code; a test compares the two. -->

All that an element may be told, in a station file as `name: {element: {option: value}}`, in a launch string as
`element option=value`. `lineside elements NAME` prints the same. What a station is: [station.md](station.md); what sinks
promise: [sinks.md](sinks.md). An element of your own is asked by its file: `lineside elements own.py:Alarm`.

```sh
lineside elements
lineside elements jsonl
lineside elements rtsp --json
```
"""


@dataclass(frozen=True)
class Option:
    """One thing that an element may be told.

    Attributes:
        name: Its name.
        kind: What it may be, in words.
        default: What it is where nobody says, as it would be written; None where somebody has to.
        says: What it does.
        owner: Name of the struct that describes it: several elements may share one.
    """

    name: str
    kind: str
    default: str | None
    says: str
    owner: str


@dataclass(frozen=True)
class Described:
    """An element.

    Attributes:
        name: How it is called.
        role: What it does in a graph.
        says: What it is.
        options: What it may be told, its own options before those that it shares.
    """

    name: str
    role: Role
    says: str
    options: tuple[Option, ...]


def described(name: str) -> Described:
    """Describes an element.

    Args:
        name: Kind of element; one of the user's own, too.

    Raises:
        StationError: There is none of that name.
    """
    kind, struct = kind_of(name), struct_of(name)
    return Described(name, kind.role, kind.says, tuple(_options(struct)))


def as_markdown() -> str:
    """All elements that come with Lineside, as a document."""
    found = [described(name) for name in ELEMENTS]
    owners = Counter(owner for it in found for owner in {option.owner for option in it.options})
    shared = {owner for owner, count in owners.items() if count > 1}
    text = [_HEAD]
    for role, title in _ROLES.items():
        text.append(f"## {title}\n")
        text += [_section(it, shared) for it in found if it.role == role]
    text.append("## Options that several share\n")
    bases = {base.__name__: base for name in ELEMENTS for base in struct_of(name).__mro__ if base.__name__ in shared}
    for owner, base in bases.items():
        rows = [it for it in _options(base) if it.owner == owner]
        text.append(f"### {_title(base)}\n\n{_table(rows)}")
    return "\n".join(text)


def _section(it: Described, shared: set[str]) -> str:
    """An element with its own options, and where those that it shares are described."""
    bases = {base.__name__: base for base in struct_of(it.name).__mro__}
    # What is shared and has another value here stands in both places.
    usual = {
        owner: {option.name: option.default for option in _options(bases[owner])} for owner in shared & bases.keys()
    }
    own = [o for o in it.options if o.owner not in shared or usual[o.owner].get(o.name) != o.default]
    text = f"### {it.name}\n\n{_sentence(it.says)}\n"
    if own:
        text += f"\n{_table(own)}"
    for owner in dict.fromkeys(option.owner for option in it.options if option.owner in shared):
        names = ", ".join(f"`{option.name}`" for option in it.options if option.owner == owner)
        title = _title(bases[owner])
        text += f"\nAlso {names}: [{title[:1].lower()}{title[1:]}](#{_anchor(title)}).\n"
    return text


def _table(options: list[Option]) -> str:
    rows = ["| option | value | default | |", "| --- | --- | --- | --- |"]
    for it in options:
        default = "required" if it.default is None else f"`{it.default}`" if it.default else ""
        cells = (f"`{it.name}`", it.kind, default, it.says)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _title(struct: type) -> str:
    """The first sentence of what a struct says of itself."""
    return (inspect.getdoc(struct) or struct.__name__).splitlines()[0].rstrip(".")


def _anchor(title: str) -> str:
    """How a heading is linked to."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _options(struct: type[Options]) -> Iterator[Option]:
    """The options of a struct, its own before those that it inherits."""
    info = types.type_info(struct)
    assert isinstance(info, types.StructType), "options are structs"
    fields = {field.name: field for field in info.fields}
    known: set[str] = set()
    for owner in struct.__mro__:
        says = _attributes(owner)
        for name in vars(owner).get("__annotations__", ()):
            if name in fields and name not in known:
                known.add(name)
                # A struct that only gives another default leaves the rest to the one that it has it from.
                base = owner if name in says else _described_by(struct, name) or owner
                text = says.get(name) or _attributes(base).get(name, "")
                yield Option(name, _kind(fields[name].type, struct), _default(fields[name]), text, base.__name__)


def _described_by(struct: type, name: str) -> type | None:
    return next((base for base in struct.__mro__ if name in _attributes(base)), None)


def _attributes(struct: type) -> dict[str, str]:
    """What the docstring of a struct says of each of its options."""
    _, _, section = inspect.cleandoc(vars(struct).get("__doc__") or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        begin = re.match(r" {4}(\w+): (.*)", line)
        if begin:
            name = begin[1]
            found[name] = begin[2]
        elif name and line.startswith(" " * 8):
            found[name] += f" {line.strip()}"
        elif line.strip():
            break
    return {name: text.replace("``", "`") for name, text in found.items()}


def _kind(kind: types.Type, struct: type) -> str:
    """What values there may be, in words."""
    return " or ".join(dict.fromkeys(_word(it, struct) for it in parts(kind) if not isinstance(it, types.NoneType)))


def _word(kind: types.Type, struct: type) -> str:
    if isinstance(kind, types.LiteralType):
        return ", ".join(f"`{value}`" for value in choices(kind, struct))
    if isinstance(kind, types.IntType | types.FloatType):
        word = "whole number" if isinstance(kind, types.IntType) else "number"
        return f"{word}{_range(kind)}"
    if isinstance(kind, types.ListType):
        return f"list of {_kind(kind.item_type, struct)}"
    plain: dict[type, str] = {types.BoolType: "`true`, `false`", types.StrType: "text", types.DictType: "mapping"}
    return plain.get(type(kind), "anything")


def _range(kind: types.IntType | types.FloatType) -> str:
    low, high = kind.ge, kind.le
    bounds = [
        *([f"from {low:.10g}"] if low is not None else [f"above {kind.gt:.10g}"] if kind.gt is not None else []),
        # The largest number of C's int bounds nothing that anybody would say.
        *([f"to {high:.10g}"] if high is not None and high < 2**31 - 1 else []),
        *([f"below {kind.lt:.10g}"] if kind.lt is not None else []),
    ]
    return f" {' '.join(bounds)}" if bounds else ""


def _default(field: types.Field) -> str | None:
    """A default as somebody would write it; empty for nothing, None where there is none."""
    if field.default_factory is not msgspec.NODEFAULT:
        value: Any = field.default_factory()
    elif field.default is msgspec.NODEFAULT:
        return None
    else:
        value = field.default
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else f"{value}"
