"""Names of files as they can be written down."""

from __future__ import annotations

import re

__all__ = ["printable", "shortened"]

_DOUBTFUL = re.compile(r"(\\+)(?=udc[89a-f][0-9a-f]|[\udc80-\udcff])")


def printable(name: str) -> str:
    r"""A name in which bytes that are not UTF-8 stand as ``\udcXX``, where XX is the byte in hexadecimal.

    Linux allows any bytes in a file's name, and Python keeps them as lone surrogates, which no file of results can
    hold; a name in GBK from a memory stick must not cost a frame. Backslashes right before such a byte, or before a
    text that looks like one, are doubled, so that no two names are written alike.
    """
    if name.isascii() and "\\" not in name:  # nearly all, and this is asked for every frame
        return name
    name = _DOUBTFUL.sub(r"\1\1", name)
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def shortened(name: str, most: int = 200) -> str:
    """The beginning of a printable name, at most so many bytes of UTF-8: file systems end at 255."""
    return name.encode()[:most].decode(errors="ignore")
