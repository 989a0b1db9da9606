"""The kernels of a frame, declared."""

from __future__ import annotations

from pathlib import Path

from lineside.runtime.kernels.kernel import Kernel, Parameter

__all__ = [
    "GATHER",
    "KERNELS",
    "LETTERBOX_PACKED",
    "LETTERBOX_YUV",
    "MASKS",
    "OFFSETS",
    "PLACE",
    "RANK",
    "SCAN",
    "SUPPRESS",
]

_HERE = Path(__file__).resolve().parent
_TYPES = {
    "parameters": "const FrameParameters*",
    "plan": "const Plan*",
    "levels": "const Level*",
    "found": "Record*",
    "sorted": "Record*",
    "header": "Header*",
    "dead": "unsigned long long*",
    **dict.fromkeys(("input", "best", "scores", "protos"), "float*"),
}
_GEOMETRY = ("content_h", "content_w", "left", "top", "input_h", "input_w")


def _kernel(name: str, source: str, pointers: str, integers: tuple[str, ...] = ()) -> Kernel:
    """A kernel that takes some pointers and then some integers."""
    taken = [Parameter(pointer, "pointer", _TYPES.get(pointer, "int*")) for pointer in pointers.split()]
    return Kernel(name, _HERE / source, (*taken, *(Parameter(integer, "int") for integer in integers)))


LETTERBOX_PACKED = _kernel("letterbox_packed", "letterbox.cu", "parameters rows columns input", _GEOMETRY)
"""BGR or grey pixels to the input."""

LETTERBOX_YUV = _kernel(
    "letterbox_yuv",
    "letterbox.cu",
    "parameters rows columns input",
    (*_GEOMETRY, "black", "luma", "v_red", "u_green", "v_green", "u_blue"),
)
"""Luma and chroma to the input."""

SCAN = _kernel("scan", "candidates.cu", "parameters plan levels best counts errors")
"""The best class value of every anchor, and how many survive."""

GATHER = _kernel("gather", "candidates.cu", "parameters plan levels best counts errors found scores header")
"""The survivors, decoded."""

RANK = _kernel("rank", "candidates.cu", "plan levels errors found scores sorted header")
"""The survivors, best first."""

SUPPRESS = _kernel("suppress", "nms.cu", "parameters plan sorted kept dead header")
"""Which of them stay."""

PLACE = _kernel("place", "masks.cu", "plan across down sorted kept items header")
"""Their boxes in the picture, and where the bands of their masks are."""

MASKS = _kernel("masks", "masks.cu", "plan levels protos across down items places header", ("write",))
"""The words of the masks: counted, or written."""

OFFSETS = _kernel("offsets", "masks.cu", "plan items places header")
"""Where the words of each band go."""

KERNELS = (LETTERBOX_PACKED, LETTERBOX_YUV, SCAN, GATHER, RANK, SUPPRESS, PLACE, MASKS, OFFSETS)
"""All of them."""
