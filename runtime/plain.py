"""Reports as plain data that JSON can hold, and as JSON that people read."""

from __future__ import annotations

import math
from typing import Any

import msgspec

__all__ = ["indented", "plain"]


def plain(report: msgspec.Struct) -> Any:
    """A report as dicts, lists and plain values, for ``json.dumps``.

    NaN and infinity, for which JSON has no word, become None. Text stays as it is, also the name of a file whose bytes
    are not UTF-8, which msgspec's own encoder refuses.

    Args:
        report: The report.
    """
    return _plain(msgspec.to_builtins(report))


def indented(record: Any) -> bytes:
    """JSON of a record as a file of a bundle holds it: indented, with a newline at its end.

    Args:
        record: A struct of numbers that JSON has words for, or plain data.

    Raises:
        TypeError: It holds something that msgspec cannot encode.
    """
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
