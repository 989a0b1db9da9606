"""Sinks, by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from lineside.pipelines.elements import Sink

__all__ = ["FILES", "SINKS", "make_sink"]

SINKS = {
    "jsonl": "lineside.pipelines.sinks.jsonl:JsonLines",
    "csv": "lineside.pipelines.sinks.csv:Csv",
    "xlsx": "lineside.pipelines.sinks.xlsx:Xlsx",
    "coco": "lineside.pipelines.sinks.coco:Coco",
    "images": "lineside.pipelines.sinks.images:Images",
    "video": "lineside.pipelines.sinks.film:whole",
}
"""What writes each kind of result."""

FILES = {
    "jsonl": "results.jsonl",
    "csv": "results.csv",
    "xlsx": "results.xlsx",
    "coco": "coco.json",
    "images": "images",
    "video": "overlay.mp4",
}
"""Where in a folder of results each of them writes."""


def make_sink(name: str, folder: Path, **options: Any) -> Sink:
    """A sink that writes its kind of result into a folder.

    Args:
        name: One of `SINKS`.
        folder: The folder; made when the sink is opened.
        **options: What this kind of sink takes besides its path.
    """
    module, attribute = SINKS[name].split(":")
    sink: Sink = getattr(importlib.import_module(module), attribute)(folder / FILES[name], **options)
    return sink
