"""Times, shares and sizes as people write them."""

from __future__ import annotations

import re

from lineside.pipelines.names import shortened
from lineside.runtime.errors import BadOption

__all__ = ["parse_bytes", "parse_share", "parse_time"]

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_LONGEST_NS = 100 * 365 * _UNITS_NS["d"]
_LARGEST = 2**63
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def parse_time(text: str) -> int:
    """Reads a time such as ``40ms``, ``1.5 s`` or ``10m``.

    Returns:
        Nanoseconds, at least 1.

    Raises:
        BadOption: It is no number with a known unit, not above zero, or a hundred years or more.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zµ]+)\s*", text)
    if match is None or match[2] not in _UNITS_NS:
        raise BadOption(f"{text!r} is not a time; write a number and a unit ({', '.join(_UNITS_NS)}), such as 40ms")
    nanoseconds = float(match[1]) * _UNITS_NS[match[2]]
    if not 0.5 < nanoseconds < _LONGEST_NS:
        raise BadOption(f"the time {shortened(text, 40)!r} must be above zero and below a hundred years")
    return round(nanoseconds)


def parse_bytes(text: str) -> int:
    """Reads an amount of data such as ``500MB`` (10^6) or ``4 GiB`` (2^30); capitals make no difference.

    Returns:
        Bytes, 0 or more.

    Raises:
        BadOption: It is no number with a known unit, or above 2^63 bytes.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+)\s*", text.lower())
    if match is None or match[2] not in _BYTES:
        raise BadOption(
            f"{text!r} is not an amount of data; write a number and a unit (B, kB, MB, GB, TB), such as 2GB"
        )
    size = float(match[1]) * _BYTES[match[2]]
    if size > _LARGEST:
        raise BadOption(f"{shortened(text, 40)!r} is more than any disk holds")
    return round(size)


def parse_share(text: str) -> float:
    """Reads a share such as ``0.1%`` or ``0.001``.

    Returns:
        A number in [0, 1].

    Raises:
        BadOption: It is no number, or outside that range.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text)
    if match is None:
        raise BadOption(f"{text!r} is not a share; write it like 0.1% or 0.001")
    share = float(match[1]) / (100 if match[2] else 1)
    if share > 1:
        raise BadOption(f"the share {text!r} is above 100 %")
    return share
