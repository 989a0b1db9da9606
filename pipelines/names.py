"""Names of files as they can be written down."""

from __future__ import annotations

__all__ = ["printable", "shortened"]


def printable(name: str) -> str:
    r"""A name in which bytes that are not UTF-8 stand as ``\udcXX``.

    Linux allows any bytes in a file's name, and Python keeps them as lone surrogates, which no file of results can
    hold; a name in GBK from a memory stick must not cost a frame.
    """
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def shortened(name: str, most: int = 200) -> str:
    """The beginning of a printable name, at most so many bytes of UTF-8: file systems end at 255."""
    return name.encode()[:most].decode(errors="ignore")
