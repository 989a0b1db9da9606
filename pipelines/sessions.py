"""Recorded sessions: what `record` writes and `replay` reads.

A session is a folder of folders named after the UTC time at which each was begun. In each of those lie
``frames.jsonl``, a line per frame, and a PNG for each line that has a picture.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from lineside.pipelines.sinks.folders import dated_folders
from lineside.pipelines.sinks.naming import PART
from lineside.pipelines.sinks.whole import whole_bytes
from lineside.runtime.yuv import Matrix, Picture, Range, Yuv

__all__ = [
    "INDEX",
    "Recorded",
    "content",
    "index_of",
    "pixels_of",
    "read_index",
    "session_folders",
    "stacked",
    "whole_index",
]

INDEX = "frames.jsonl"


class Recorded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the index.

    Attributes:
        picture: Name of the PNG in the same folder; empty where the frame had no pixels.
        bytes: Its size.
        crc: Its CRC-32 (zlib's): a picture that a loss of power has damaged is not taken for a recorded one.
        layout: What the PNG holds: ``bgr`` or ``grey`` pixels, or the planes of ``NV12`` or ``I420`` one above the other.
        matrix: Colour matrix of a frame in YUV.
        range: Its range of values.
        source: As in `Frame`, and so the rest.
        sequence: Number of the frame in the run that was recorded.
        file: `Frame.name`.
        pts: Presentation time in seconds since the start of its source.
        wall: Wall-clock time of its capture in seconds since 1970.
        size: Height and width in pixels.
        trigger: Number of the trigger.
        part: Identification of the part.
        encoder: Count of the line's encoder.
        missed: Parts that had passed unseen right before.
        damage: Why it arrived incomplete.
        note: What is to be known about it.
        error: Why it failed.
    """

    picture: str = ""
    bytes: int = 0
    crc: int = 0
    layout: Literal["bgr", "grey", "NV12", "I420"] = "bgr"
    matrix: Matrix | Literal[""] = ""
    range: Range | Literal[""] = ""
    source: str = ""
    sequence: int = -1
    file: str = ""
    pts: float
    wall: float
    size: tuple[int, int] = (0, 0)
    trigger: int | None = None
    part: str | None = None
    encoder: int | None = None
    missed: int = 0
    damage: str | None = None
    note: str | None = None
    error: str | None = None


_DECODER = msgspec.json.Decoder(Recorded)


def session_folders(path: Path) -> list[Path]:
    """The folders of a session in the order of time; the folder itself where it is one of them."""
    return [path] if index_of(path) is not None else [it for it in dated_folders(path) if index_of(it) is not None]


def index_of(folder: Path) -> Path | None:
    """The index of a folder, finished or not; None where there is none."""
    return next((it for it in (folder / INDEX, folder / f"{INDEX}{PART}") if it.is_file()), None)


def whole_index(path: Path) -> int:
    """Bytes that the whole lines at the beginning of an index take."""
    return whole_bytes(path, _DECODER.decode)


def read_index(path: Path) -> Iterator[Recorded]:
    """The whole lines of an index, finished or not.

    Raises:
        OSError: It cannot be read.
    """
    left = whole_index(path)
    with path.open("rb") as file:
        for line in file:
            left -= len(line)
            if left < 0:
                return
            yield _DECODER.decode(line)


def content(folder: Path, line: Recorded) -> bytes | None:
    """The picture that belongs to a line, be it under its name or not yet; None where it is not there as a whole.

    Raises:
        OSError: It is there and cannot be read.
    """
    for name in (line.picture, f"{line.picture}{PART}"):
        path = folder / Path(name).name  # Whatever an index says, it speaks of its own folder.
        if path.is_file():
            data = path.read_bytes()
            if len(data) == line.bytes and zlib.crc32(data) == line.crc:
                return data
    return None


def stacked(picture: Picture) -> tuple[dict[str, str], npt.NDArray[np.uint8]]:
    """A picture as one array that a PNG can hold, and what its line says about that.

    Of a picture in YUV, luma ``(H, W)`` stands on top, in a row of ``2 * ((W + 1) // 2)`` bytes, and below it
    ``(H + 1) // 2`` rows of chroma: U and V in turn for NV12, all of U and then all of V for I420.
    """
    if not isinstance(picture, Yuv):
        return {"layout": "grey" if picture.ndim == 2 else "bgr"}, np.ascontiguousarray(picture)
    luma, u, v = picture.parts
    (height, width), (rows, columns) = luma.shape, u.shape
    out = np.zeros((height + rows, 2 * columns), np.uint8)
    out[:height, :width] = luma
    if picture.format == "NV12":
        out[height:, 0::2], out[height:, 1::2] = u, v
    else:
        out[height:, :columns], out[height:, columns:] = u, v
    return {"layout": picture.format, "matrix": picture.matrix, "range": picture.range}, out


def pixels_of(array: npt.NDArray[np.uint8], line: Recorded) -> Picture | None:
    """The picture that `stacked` has made an array of; None where it is another one than its line says.

    Args:
        array: What the PNG holds.
        line: Its line.
    """
    height, width = line.size
    if line.layout == "bgr" or line.layout == "grey":
        shape = (height, width, 3) if line.layout == "bgr" else (height, width)
        return array if array.shape == shape else None
    rows, columns = (height + 1) // 2, (width + 1) // 2
    if array.shape != (height + rows, 2 * columns):
        return None
    luma, below = array[:height, :width], array[height:]
    chroma = (below.reshape(rows, columns, 2),) if line.layout == "NV12" else (below[:, :columns], below[:, columns:])
    return Yuv(line.layout, (luma, *chroma), line.matrix or "bt601", line.range or "limited")
