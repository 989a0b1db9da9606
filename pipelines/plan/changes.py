"""Single options of a station file, changed by whoever starts it: ``line.url=rtsp://10.0.0.7/stream``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union

import msgspec

from lineside.pipelines.catalog import struct_of
from lineside.pipelines.own import located
from lineside.pipelines.plan.text import discreet
from lineside.pipelines.typed import converted
from lineside.runtime.errors import StationError

if TYPE_CHECKING:
    from pathlib import Path

    from lineside.pipelines.plan.file import StationGraph

__all__ = ["changed"]


def changed(graph: StationGraph, changes: Sequence[str], folder: Path) -> StationGraph:
    """A station with options of its elements changed.

    Args:
        graph: What the file says.
        changes: Each as ``ELEMENT.OPTION=VALUE``, the value as in a launch string; of two for the same option the later
            one holds.
        folder: What the files of the user's own elements are relative to.

    Raises:
        StationError: There is no such element or option, or the value is of no use there. Values are not repeated: they
            may be secrets.
    """
    elements = dict(graph.elements)
    with discreet():
        for change in changes:
            _change(elements, change, folder)
    return msgspec.structs.replace(graph, elements=elements)


def _change(elements: dict[str, dict[str, dict[str, Any] | None]], change: str, folder: Path) -> None:
    """Changes one option."""
    place, equals, value = change.partition("=")
    name, dot, option = place.partition(".")
    if not (equals and dot and name and option):
        raise StationError(f"--set {place}: write ELEMENT.OPTION=VALUE, such as line.fps=5")
    if name not in elements:
        raise StationError(f"--set {place}: the station has no element '{name}'; there are: {', '.join(elements)}")
    said = elements[name]
    if len(said) == 1:  # else whoever reads the file says what is wrong
        ((kind, options),) = said.items()
        found = _read(located(kind, folder), name, option, value)
        elements[name] = {kind: {**(options or {}), option: found}}


def _read(kind: str, name: str, option: str, word: str) -> Any:
    """A word as the value of an element's option."""
    fields = msgspec.structs.fields(struct_of(kind))
    each = [(field.encode_name, Union[field.type, msgspec.UnsetType], msgspec.UNSET) for field in fields]  # noqa: UP007
    one = msgspec.defstruct("Change", each, kw_only=True, forbid_unknown_fields=True)
    return getattr(converted({option: word}, one, "--set", at=name, text=True), option)
