"""Video as a row of records: fragments of an MP4 (ISO/IEC 14496-12), pictures of a Motion JPEG stream."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["fragments", "whole_fragments", "whole_jpegs"]

_BEFORE = ("ftyp", "moov")
"""Boxes that stand before the first fragment and say how to decode all of them."""
_HOLES = {"moof": bytes(64), "mdat": bytes(8)}
"""Boxes of a fragment, with rows of zeros that they do not have."""
_HEAD = 8


def _box(stream: IO[bytes]) -> tuple[str, int, bytes] | None:
    """Head of the next box: its type, the bytes of its body, and the head itself; None at the end or where it is none."""
    head = stream.read(_HEAD)
    if len(head) < _HEAD:
        return None
    size, kind = struct.unpack(">I4s", head)
    if size == 1:
        more = stream.read(8)
        if len(more) < 8:
            return None
        head += more
        size = struct.unpack(">Q", more)[0]
    return (kind.decode("latin-1"), size - len(head), head) if size >= len(head) else None


def fragments(stream: IO[bytes]) -> Iterator[tuple[bool, bytes]]:
    """Cuts a fragmented MP4 that is still being made into pieces that a file may end after.

    Yields:
        First what stands before all fragments (``ftyp`` and ``moov``), with True; then each fragment (``moof`` and
        ``mdat``), with False. What comes after the last fragment is left out.
    """
    before, piece = b"", b""
    while (box := _box(stream)) is not None:
        kind, length, head = box
        body = stream.read(length)
        if len(body) < length:
            return
        if kind in _BEFORE:
            before += head + body
            if kind == "moov":
                yield True, before
        elif kind in ("moof", "mdat"):
            piece += head + body
            if kind == "mdat":
                yield False, piece
                piece = b""


def whole_fragments(path: Path) -> int:
    """Bytes of a fragmented MP4 up to the end of its last whole fragment; 0 where it has none.

    After a loss of power blocks of zeros may stand where nothing was written, with the boxes around them in place. So what
    follows a row of zeros that no fragment has is none: in H.264 no two zero bytes are followed by a third (ISO/IEC
    14496-10, 7.4.1), the length in front of each unit begins with three at most, and the tables of a ``moof`` are numbers
    for each frame.
    """
    total, last = 0, ""
    with path.open("rb") as file:
        while (box := _box(file)) is not None:
            kind, length, _ = box
            if kind not in (*_BEFORE, *_HOLES):
                break
            body = file.read(length)
            if len(body) < length or (kind in _HOLES and _HOLES[kind] in body):
                break
            if kind == "mdat" and last == "moof":
                total = file.tell()
            last = kind
    return total


def whole_jpegs(path: Path) -> int:
    """Bytes of a Motion JPEG stream up to the end of its last whole picture.

    Inside a picture the end marker does not occur (JPEG, ITU-T T.81, B.1.1.5), so one that is followed by the next
    picture or by nothing ends it; a block of zeros is none of any picture.
    """
    total, begin, rest = 0, 0, b""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            data = rest + block
            place = 0
            while (end := data.find(b"\xff\xd9", place)) >= 0:
                picture = data[place : end + 2]
                if not picture.startswith(b"\xff\xd8") or bytes(512) in picture:
                    return total
                place = end + 2
                total = begin + place
            begin, rest = begin + place, data[place:]
    return total
