"""Times, shares and sizes as people write them."""

from __future__ import annotations

import pytest

from lineside.pipelines.units import parse_bytes, parse_share, parse_time
from lineside.runtime.errors import BadOption


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("40ms", 40_000_000),
        ("1.5 s", 1_500_000_000),
        ("10m", 600 * 10**9),
        ("250us", 250_000),
        (".5h", 1800 * 10**9),
        ("1d", 86_400 * 10**9),
    ],
)
def test_times(text: str, nanoseconds: int) -> None:
    assert parse_time(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "40", "ms", "-4ms", "0s", "4 parsecs", "1e3ms", "nan s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(BadOption):
        parse_time(text)


@pytest.mark.parametrize(("text", "share"), [("0.1%", 0.001), ("0.25", 0.25), ("0", 0.0), ("100 %", 1.0)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "2", "101%", "-1%", "few"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(BadOption):
        parse_share(text)


@pytest.mark.parametrize(
    ("text", "size"), [("500MB", 500 * 10**6), ("4 GiB", 4 << 30), ("0b", 0), (".5kB", 500), ("2tb", 2 * 10**12)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "5", "GB", "-1MB", "1e3kB", "5 Mbit"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(BadOption):
        parse_bytes(text)
