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

from lineside.pipelines.sinks.folders import dated_folders
from lineside.pipelines.sinks.naming import PART
from lineside.pipelines.sinks.whole import whole_bytes

__all__ = ["INDEX", "Recorded", "content", "index_of", "read_index", "session_folders", "whole_index"]

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
    matrix: str = ""
    range: str = ""
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
