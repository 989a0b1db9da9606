"""From the packed block that a device gives back to detections."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.detections import Detections
from lineside.runtime.errors import ContractMismatch, NonFiniteOutput
from lineside.runtime.geometry import Size
from lineside.runtime.masks import Masks

__all__ = ["HEADER", "RECORD", "bytes_needed", "read_result"]

HEADER = np.dtype(
    [(name, "<i4") for name in ("detections", "candidates", "words", "error", "value", "beyond", "broken", "masks")]
)
"""``Header`` of frame.cuh."""

RECORD = np.dtype([("box", "<f4", 4), ("score", "<f4"), ("class", "<i4"), ("anchor", "<i4"), ("words", "<i4")])
"""``Record`` of frame.cuh: the box is in pixels of the picture, clipped."""

_SOUND = 2**31 - 1
_SCORE, _CLASS, _BOX = 0, 1, 2


def bytes_needed(block: npt.NDArray[np.uint8]) -> int | None:
    """How much of a result must be read.

    Args:
        block: The begin of the result, at least its header.

    Returns:
        Bytes from its begin; None where the device had no room for all of it.
    """
    header = _header(block)
    if header["beyond"]:
        return None
    return HEADER.itemsize + RECORD.itemsize * int(header["detections"]) + 4 * int(header["words"])


def read_result(block: npt.NDArray[np.uint8], names: tuple[str, ...], image_size: Size) -> Detections:
    """Reads a result.

    Args:
        block: At least as many bytes of it as `bytes_needed` says; copied from.
        names: Class names.
        image_size: Height and width of the picture, in pixels.

    Returns:
        The detections, best first.

    Raises:
        NonFiniteOutput: A class score, a candidate's box or a detection's mask is NaN or infinite.
        ContractMismatch: A class index does not fit the head contract.
    """
    header = _header(block)
    _check(header, len(names))
    count, words = int(header["detections"]), int(header["words"])
    middle = HEADER.itemsize + RECORD.itemsize * count
    records = block[HEADER.itemsize : middle].view(RECORD)
    masks = None
    if header["masks"]:
        masks = _masks(records, block[middle : middle + 4 * words].view(np.uint16).reshape(-1, 2), image_size)
    boxes, scores, classes, anchors = (records[name].copy() for name in ("box", "score", "class", "anchor"))
    return Detections(
        boxes=_frozen(boxes),
        scores=_frozen(scores),
        classes=_frozen(classes),
        anchors=_frozen(anchors),
        masks=masks,
        names=names,
        image_size=image_size,
    )


def _header(block: npt.NDArray[np.uint8]) -> np.void:
    header: np.void = block[: HEADER.itemsize].view(HEADER)[0]
    return header


def _check(header: np.void, classes: int) -> None:
    """Raises what the processor would raise.

    Raises:
        NonFiniteOutput: See `read_result`.
        ContractMismatch: See `read_result`.
    """
    anchor, what = divmod(int(header["error"]), 4)
    if int(header["error"]) == _SOUND:
        if not header["broken"]:
            return
        why = "the mask of a detection holds NaN or infinity"
    elif what == _CLASS:
        (value,) = struct.unpack("<f", struct.pack("<i", int(header["value"])))
        raise ContractMismatch(
            f"the model's output does not fit its head contract: row {anchor} names class {value:g} of {classes}; "
            "export the model again"
        )
    elif what == _BOX:
        why = f"the box of the candidate at anchor {anchor} is NaN or infinite"
    else:
        why = "class scores hold NaN or infinity"
    raise NonFiniteOutput(
        f"the model's output cannot be trusted: {why}. The weights or the precision of this variant are broken, or the "
        "input was: verify the bundle, or load another variant"
    )


def _masks(records: npt.NDArray[np.void], words: npt.NDArray[np.uint16], image_size: Size) -> Masks:
    """Makes spans of words ``(W, 2)``.

    A word is begin and end of a span; end and begin where it follows another in its row; 0 and 0 for a row without.
    """
    counts = records["words"].astype(np.int64)
    begins = np.cumsum(counts) - counts
    ends, starts = words[:, 1].astype(np.int32), words[:, 0].astype(np.int32)
    # Each mask begins with a row of its own, so rows counted over all words are rows of a mask once its first is known.
    rows = np.cumsum(starts <= ends, dtype=np.int64) - 1
    owner = np.repeat(np.arange(len(counts)), counts)
    tops = np.ceil(records["box"][:, 1]).astype(np.int64)
    first = rows[np.minimum(begins, max(len(rows) - 1, 0))] if len(rows) else begins
    y = rows + (tops - first)[owner]
    full = starts != ends
    spans = np.stack([y, np.minimum(starts, ends), np.maximum(starts, ends)], 1)[full].astype(np.int32)
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(np.bincount(owner[full], minlength=len(counts)), out=offsets[1:])
    return Masks(_frozen(spans), _frozen(offsets), image_size)


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array
