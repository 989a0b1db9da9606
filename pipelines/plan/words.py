"""The words of a launch string, and where each begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lineside.runtime.errors import StationError

__all__ = ["Word", "words"]

_QUOTES = "\"'"


class Word(NamedTuple):
    """One word.

    Attributes:
        text: The word without its quotes.
        column: Where it begins, from 1.
        bare: Whether it stands without quotes, and may be a sign of the language.
    """

    text: str
    column: int
    bare: bool


def words(text: str) -> Iterator[Word]:
    """Splits a text at blanks. Quotes keep blanks; a backslash before a quote or a backslash within double quotes keeps it.

    Args:
        text: The text.

    Raises:
        StationError: A quote is not closed.
    """
    place, end = 0, len(text)
    while place < end:
        if text[place].isspace():
            place += 1
            continue
        begin, bare = place, True
        parts: list[str] = []
        while place < end and not text[place].isspace():
            if text[place] in _QUOTES:
                part, place = _quoted(text, place)
                parts.append(part)
                bare = False
            else:
                parts.append(text[place])
                place += 1
        yield Word("".join(parts), begin + 1, bare)


def _quoted(text: str, begin: int) -> tuple[str, int]:
    """What stands in the quotes that begin at a place, and the place behind them."""
    quote, place = text[begin], begin + 1
    parts: list[str] = []
    while place < len(text):
        sign = text[place]
        if sign == quote:
            return "".join(parts), place + 1
        if sign == "\\" and quote == '"' and text[place + 1 : place + 2] in ('"', "\\"):
            place += 1
            sign = text[place]
        parts.append(sign)
        place += 1
    raise StationError(
        f"the quote at column {begin + 1} of the launch string is not closed: add {quote} behind its value"
    )
