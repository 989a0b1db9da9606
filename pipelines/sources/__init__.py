"""Sources, by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from lineside.pipelines.elements import Source
from lineside.pipelines.sources.find import Found, find

__all__ = ["SOURCES", "make_source"]

SOURCES = {
    "picture": "lineside.pipelines.sources.pictures:Pictures",
    "video": "lineside.pipelines.sources.video:Video",
    "camera": "lineside.pipelines.sources.camera:Camera",
    "synthetic": "lineside.pipelines.sources.memory:synthetic",
    "chain": "lineside.pipelines.sources.chain:Chain",
}
"""What reads each kind of thing that `find` finds."""


def make_source(words: Sequence[str]) -> Source:
    """One source for all that the words of a command line stand for.

    Args:
        words: See `find`.

    Raises:
        SourceError: A word stands for nothing that can be read.
    """
    parts: list[tuple[str, Source]] = []
    for kind, group in groupby(find(words), key=lambda it: it.kind):
        found = list(group)
        if kind == "picture":
            parts.append((_title(found, words), _make(kind, [it.what for it in found], _title(found, words))))
        else:
            parts.extend((it.what, _single(it)) for it in found)
    source: Source = parts[0][1] if len(parts) == 1 else _make("chain", parts)
    return source


def _single(found: Found) -> Any:
    if found.kind == "camera":
        return _make("camera", int(found.what))
    if found.kind == "synthetic":
        width, height = map(int, found.what.split("x"))
        return _make("synthetic", (height, width))
    return _make(found.kind, found.what)


def _title(found: Sequence[Found], words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{len(found)} pictures"


def _make(kind: str, *arguments: Any) -> Any:
    module, attribute = SOURCES[kind].split(":")
    return getattr(importlib.import_module(module), attribute)(*arguments)
