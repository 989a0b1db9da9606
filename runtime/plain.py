"""Reports as plain data that JSON can hold."""

from __future__ import annotations

import math
from typing import Any

import msgspec

__all__ = ["plain"]


def plain(report: msgspec.Struct) -> Any:
    """A report as dicts, lists and plain values, for ``json.dumps``.

    NaN and infinity, for which JSON has no word, become None. Text stays as it is, also the name of a file whose bytes
    are not UTF-8, which msgspec's own encoder refuses.

    Args:
        report: The report.
    """
    return _plain(msgspec.to_builtins(report))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
