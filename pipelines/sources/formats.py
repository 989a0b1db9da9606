"""What the bytes of a picture file say about it before anything decodes them.

Decoders are lenient: they fill what is missing with grey, show the first of several pages and say nothing. Half a part
would pass as inspected.
"""

from __future__ import annotations

import struct
import zlib

__all__ = ["flaw", "is_text", "pages"]

_PNG = b"\x89PNG\r\n\x1a\n"
_REDUCED = 1
"""Bit of TIFF's tag NewSubfileType: a smaller version of another page."""
_TEXT = bytes((7, 8, 9, 10, 12, 13, 27, *range(0x20, 0x7F)))


def flaw(data: bytes) -> str | None:
    """Why a JPEG or PNG should not be decoded; None where nothing speaks against it.

    Args:
        data: The whole file.
    """
    if data.startswith(b"\xff\xd8"):
        # In a scan every FF is followed by 00 or a restart marker, so that these two markers (end of image, start of
        # scan) cannot occur there by chance; a picture that is cut off has no end after its last scan.
        return "the JPEG is cut off before its end" if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda") else None
    if data.startswith(_PNG):
        return _png_flaw(data)
    return None


def _png_flaw(data: bytes) -> str | None:
    """Walks through the chunks (length, type, content, CRC) up to the end of a PNG (ISO/IEC 15948, section 5)."""
    place, view = len(_PNG), memoryview(data)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            break
        if kind[0] < 0x60:  # A capital letter: what no reader may do without.
            (wanted,) = struct.unpack_from(">I", data, end - 4)
            if zlib.crc32(view[place + 4 : end - 4]) != wanted:
                return "the PNG is damaged: its checksum is wrong"
        if kind == b"IEND":
            return None
        place = end
    return "the PNG is cut off before its end"


def pages(data: bytes) -> int:
    """How many pictures a TIFF, WebP or PNG holds; 1 for every other file.

    Smaller versions of a page, as slide scanners write them, do not count.

    Args:
        data: The whole file.
    """
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff_pages(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return max(1, data.count(b"ANMF")) if data[12:16] == b"VP8X" and data[20] & 2 else 1
    if data.startswith(_PNG):
        mark = data.find(b"acTL", 0, max(0, data.find(b"IDAT")))
        return max(1, struct.unpack_from(">I", data, mark + 4)[0]) if mark > 0 else 1
    return 1


def _tiff_pages(data: bytes) -> int:
    """Follows the chain of directories of a TIFF (Adobe TIFF 6.0, section 2) or BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    number, width, entry = ("Q", 8, 20) if big else ("H", 2, 12)
    link = "Q" if big else "I"
    found, seen = 0, set[int]()
    try:
        (place,) = struct.unpack_from(order + link, data, 8 if big else 4)
        while place and place not in seen:
            seen.add(place)
            (count,) = struct.unpack_from(order + number, data, place)
            first = place + width
            tags = (struct.unpack_from(order + "HH", data, first + i * entry) for i in range(min(count, 4096)))
            at = next((first + i * entry for i, (tag, _) in enumerate(tags) if tag == 254), None)
            kind = struct.unpack_from(order + "I", data, at + (12 if big else 8))[0] if at is not None else 0
            found += not kind & _REDUCED
            (place,) = struct.unpack_from(order + link, data, first + count * entry)
    except struct.error:
        pass  # The rest of the chain is not there; what the decoder makes of it is another matter.
    return max(1, found)


def is_text(head: bytes) -> bool:
    """Whether the beginning of a file is plain text: no video is, but a list of other files or addresses may be.

    Args:
        head: Its first bytes, a few hundred.
    """
    return bool(head) and not head.translate(None, _TEXT)
