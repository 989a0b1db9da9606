"""Improved YOLO11 instance segmentation on the factory line.

>>> import lineside
>>> model = lineside.load("bearing.bundle")
>>> found = model(frame)  # (H, W, 3) uint8 BGR
>>> found.boxes, found.scores, found.classes, found.masks[0].polygons()

Importing this package loads nothing; its names are found when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineside.runtime import errors
    from lineside.runtime.detections import Detections
    from lineside.runtime.errors import LinesideError
    from lineside.runtime.loading import load
    from lineside.runtime.segmenter import Segmenter

    __version__: str

__all__ = ["Detections", "LinesideError", "Segmenter", "__version__", "errors", "load"]

_HOMES = {
    "Detections": "lineside.runtime.detections",
    "LinesideError": "lineside.runtime.errors",
    "Segmenter": "lineside.runtime.segmenter",
    "load": "lineside.runtime.loading",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name == "errors":
        value = importlib.import_module("lineside.runtime.errors")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lineside")
    except PackageNotFoundError:  # a checkout that was never installed
        return "0+unknown"
