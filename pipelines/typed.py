"""Values that a user wrote, as the typed data they stand for; what cannot be meant is refused with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from lineside.pipelines.names import printable
from lineside.pipelines.secrets import redacted
from lineside.runtime.errors import StationError

__all__ = ["choices", "converted", "parts"]

T = TypeVar("T")


def converted(values: Any, kind: type[T], name: str, *, at: str = "", text: bool = False) -> T:
    """Reads plain values as a msgspec struct.

    Args:
        values: What a YAML or JSON reader gave, or words.
        kind: The struct.
        name: What the text is called in messages, such as the path of the file.
        at: Place of the values in that text, such as ``elements.top``.
        text: All values are words: ``30`` is a number where one is wanted, ``true`` a truth value.

    Returns:
        The struct.

    Raises:
        StationError: A value has the wrong type or lies outside its range, or its name is not known there. The message
            names the place and what is allowed.
    """
    if (place := _with_nul(values)) is not None:
        where = ".".join(filter(None, (at, place)))
        raise StationError(f"{name} is wrong{f' at `{where}`' if where else ''}: no text may have the sign NUL in it")
    try:
        return msgspec.convert(values, kind, strict=not text)
    except UnicodeEncodeError:  # bytes of a name that are no UTF-8, in the place of a choice
        converted(_printed(values), kind, name, at=at, text=text)
        raise StationError(f"{name} is wrong{f' at `{at}`' if at else ''}: a text there is no UTF-8") from None
    except msgspec.ValidationError as error:
        raise StationError(redacted(f"{name} {_explained(str(error), kind, at)}")) from None


def _with_nul(values: Any) -> str | None:
    """Place of a text that no file and no library takes, because it has a NUL in it; None where there is none."""
    left: list[tuple[str, Any]] = [("", values)]
    while left:
        place, value = left.pop()
        if isinstance(value, str) and "\0" in value:
            return place
        if isinstance(value, dict):
            left += [(f"{place}.{key}".lstrip("."), it) for key, it in value.items()]
        elif isinstance(value, list):
            left += [(f"{place}[{number}]", it) for number, it in enumerate(value)]
    return None


def _printed(value: Any) -> Any:
    """Values whose texts can be written down."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_printed(key): _printed(it) for key, it in value.items()}
    return [_printed(it) for it in value] if isinstance(value, list) else value


def _explained(message: str, kind: type, at: str) -> str:
    """What msgspec found, with the place in the text and the values allowed there."""
    what, _, path = message.partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    where = ".".join(filter(None, (at, path))).replace(".[", "[")
    found = list(_along(inspect.type_info(kind), path))
    if match := re.search(r"unknown field `(.*)`", what):
        names = next((", ".join(_names(it)) for it in found if isinstance(it, inspect.StructType)), "")
        return f"has no use for `{match[1]}`{f' in `{where}`' if where else ''}; known here: {names or 'nothing'}"
    plain = what.replace("`array`", "a list").replace("`object`", "a mapping of names to values")
    choice = [str(value) for it in found if isinstance(it, inspect.LiteralType) for value in choices(it, kind)]
    allowed = f"; allowed: {', '.join(choice)}" if choice else ""
    return f"is wrong{f' at `{where}`' if where else ''}: {plain[:1].lower()}{plain[1:]}{allowed}"


def choices(found: inspect.LiteralType, kind: Any) -> tuple[Any, ...]:
    """The values of a choice in the order in which they are declared somewhere in a struct; msgspec sorts them.

    Args:
        found: The choice.
        kind: The struct.
    """
    left, seen = [kind], []
    while left:
        hint = left.pop()
        if get_origin(hint) is Literal and set(get_args(hint)) == set(found.values):
            return get_args(hint)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint not in seen:
            seen.append(hint)
            left += get_type_hints(hint).values()
        left += get_args(hint)
    return tuple(found.values)


def _names(kind: inspect.StructType) -> list[str]:
    """Names of the fields of a struct, its own before those that it inherits."""
    order = [name for base in kind.cls.__mro__ for name in vars(base).get("__annotations__", ())]
    fields = sorted(kind.fields, key=lambda field: order.index(field.name) if field.name in order else len(order))
    return [field.encode_name for field in fields]


def _along(kind: inspect.Type, path: str) -> Iterator[inspect.Type]:
    """The types that may stand at the end of a path such as ``segment.imgsz[0]``."""
    kinds = list(parts(kind))
    for step in re.findall(r"[^.\[\]]+|\[[^\]]*\]", path):
        kinds = [part for it in kinds for below in _below(it, step) for part in parts(below)]
    yield from kinds


def parts(kind: inspect.Type) -> Iterator[inspect.Type]:
    """A type without its wrappings; each of those that a union allows.

    Args:
        kind: The type.
    """
    if isinstance(kind, inspect.Metadata):
        yield from parts(kind.type)
    elif isinstance(kind, inspect.UnionType):
        for part in kind.types:
            yield from parts(part)
    else:
        yield kind


def _below(kind: inspect.Type, step: str) -> Iterator[inspect.Type]:
    """The type one step further down a path."""
    if isinstance(kind, inspect.StructType):
        yield from (field.type for field in kind.fields if field.encode_name == step)
    elif isinstance(kind, inspect.DictType):
        yield kind.value_type
    elif isinstance(kind, inspect.ListType) and step.startswith("["):
        yield kind.item_type
