"""Reads what a TensorRT engine file says about itself, without TensorRT.

Ultralytics writes its ``.engine`` files as a 4-byte little-endian length, that many bytes of JSON, then the plan. Other
tools write the plan alone, which begins with a mark of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lineside.export.literals import literal
from lineside.runtime.errors import ExportError

__all__ = ["MARKS", "explain_engine"]

MARKS = (b"ftrt", b"ptrt")
"""First bytes of a plan."""

MOST_METADATA = 16 << 20
"""Longest metadata that is read; that of a thousand class names is some tens of kilobytes."""

BOUND = (
    "a TensorRT plan runs only on the kind of GPU and the TensorRT version it was built with, and its graph cannot be "
    "taken out again: import the .onnx that it was built from, or export its best.pt with `lineside export`"
)


def explain_engine(path: Path) -> ExportError:
    """Says what an engine file is and what to do instead.

    Args:
        path: A file named ``.engine``, ``.plan`` or ``.trt``.

    Returns:
        The error to raise.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4)
            length = int.from_bytes(head, "little")
            if head in MARKS:
                return ExportError(f"{path} is a plain TensorRT plan of {size} bytes: {BOUND}")
            if len(head) < 4 or size <= 4:
                return ExportError(f"{path} has {size} bytes and is no TensorRT engine: give an .onnx file")
            if length > MOST_METADATA or length > size - 4:
                return ExportError(
                    f"{path} is no engine file that can be read: it begins like neither a TensorRT plan nor ultralytics' "
                    f"metadata ({length} bytes announced, {size - 4} there); {BOUND}"
                )
            text = file.read(length)
            rest = size - 4 - length
    except OSError as error:
        return ExportError(f"{path} cannot be read ({error.strerror}): give an .onnx file")
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        return ExportError(
            f"{path} begins like an engine file of ultralytics, but its metadata is damaged; in any case {BOUND}"
        )
    empty = "" if rest else ", with no plan behind its metadata"
    return ExportError(f"{path} is a TensorRT engine written by {_described(metadata)}{empty}: {BOUND}")


def _described(metadata: Mapping[str, Any]) -> str:
    """Writer, task, classes, size, batch and precision, as far as they are told."""
    names = metadata.get("names")
    names = literal(names) if isinstance(names, str) else names
    arguments = metadata.get("args")
    arguments = literal(arguments) if isinstance(arguments, str) else arguments
    told = [f"ultralytics {_short(metadata.get('version', 'of an unknown version'))}"]
    if metadata.get("task"):
        told.append(f"task {_short(metadata['task'])}")
    if isinstance(names, (dict, list, tuple)):
        told.append(f"{len(names)} class{'' if len(names) == 1 else 'es'}")
    if metadata.get("imgsz"):
        told.append(f"imgsz {_short(metadata['imgsz'])}")
    if metadata.get("batch"):
        told.append(f"batch {_short(metadata['batch'])}")
    if isinstance(arguments, dict):
        told += [
            f"{name} {_short(arguments[name])}"
            for name in ("half", "int8", "quantize", "dynamic")
            if arguments.get(name)
        ]
    return f"{told[0]} ({', '.join(told[1:])})" if told[1:] else told[0]


def _short(value: Any) -> str:
    """Printable and of one short line, whatever the file holds."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(value))
    return text if len(text) <= 40 else f"{text[:40]}..."
