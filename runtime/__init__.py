"""The lean runtime: runs a bundle on one frame with numpy and the native core, nothing else.

The public names below are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineside.runtime.bundle import Bundle, open_bundle
    from lineside.runtime.contract import HeadContract, InputContract
    from lineside.runtime.detections import Detections
    from lineside.runtime.geometry import Letterbox
    from lineside.runtime.loading import load
    from lineside.runtime.manifest import Manifest
    from lineside.runtime.masks import Mask, Masks
    from lineside.runtime.postprocess import decode
    from lineside.runtime.raw import Raw
    from lineside.runtime.segmenter import Segmenter
    from lineside.runtime.yuv import Yuv

__all__ = [
    "Bundle",
    "Detections",
    "HeadContract",
    "InputContract",
    "Letterbox",
    "Manifest",
    "Mask",
    "Masks",
    "Raw",
    "Segmenter",
    "Yuv",
    "decode",
    "load",
    "open_bundle",
]

_HOMES = {
    "Bundle": "lineside.runtime.bundle",
    "Detections": "lineside.runtime.detections",
    "HeadContract": "lineside.runtime.contract",
    "InputContract": "lineside.runtime.contract",
    "Letterbox": "lineside.runtime.geometry",
    "Manifest": "lineside.runtime.manifest",
    "Mask": "lineside.runtime.masks",
    "Masks": "lineside.runtime.masks",
    "Raw": "lineside.runtime.raw",
    "Segmenter": "lineside.runtime.segmenter",
    "Yuv": "lineside.runtime.yuv",
    "decode": "lineside.runtime.postprocess",
    "load": "lineside.runtime.loading",
    "open_bundle": "lineside.runtime.bundle",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
