"""Sources, by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from lineside.pipelines.elements import Source
from lineside.pipelines.sources.find import Found
from lineside.runtime.errors import SourceError

__all__ = ["SOURCES", "make_source"]

SOURCES = {
    "picture": "lineside.pipelines.sources.pictures:Pictures",
    "video": "lineside.pipelines.sources.video:Video",
    "camera": "lineside.pipelines.sources.camera:Camera",
    "synthetic": "lineside.pipelines.sources.memory:synthetic",
    "chain": "lineside.pipelines.sources.chain:Chain",
}
"""What reads each kind of thing that `find` finds."""


def make_source(found: Sequence[Found], title: str = "") -> Source:
    """One source for all that was found.

    Args:
        found: What `find` made of the words of a command line.
        title: Name of it all, where one word stands for it.

    Raises:
        SourceError: A camera is among several sources.
    """
    if len(found) > 1 and any(it.kind == "camera" for it in found):
        raise SourceError("a camera has no end, so nothing can come after or beside it; start it in a run of its own")
    parts: list[tuple[str, Source]] = []
    for kind, group in groupby(found, key=lambda it: it.kind):
        run = list(group)
        if kind == "picture":
            name = title or f"{len(run)} pictures"
            parts.append((name, _make(kind, [it.what for it in run], name)))
        else:
            parts.extend((it.what, _single(it)) for it in run)
    source: Source = parts[0][1] if len(parts) == 1 else _make("chain", parts)
    return source


def _single(found: Found) -> Any:
    if found.kind == "camera":
        return _make("camera", int(found.what))
    if found.kind == "synthetic":
        width, height = map(int, found.what.split("x"))
        return _make("synthetic", (height, width))
    return _make(found.kind, found.what)


def _make(kind: str, *arguments: Any) -> Any:
    module, attribute = SOURCES[kind].split(":")
    return getattr(importlib.import_module(module), attribute)(*arguments)
