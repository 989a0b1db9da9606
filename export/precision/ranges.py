"""What the tensors of a graph hold, for some pictures, and which part of it is worth keeping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["BINS", "METHODS", "Method", "Ranges", "Spread", "kept_range"]

Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest value that is to be kept, by name of the tensor."""

Method = Literal["minmax", "percentile", "entropy", "squares"]

METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy", "squares")

BINS = 2048
SHARE = 1e-5
"""Of the values of a tensor, those at either end that ``percentile`` lets go beyond the range."""

LEVELS = 128
"""Steps that ``entropy`` reckons with: those of a signed byte on one side of zero."""


@dataclass
class Spread:
    """The values of one tensor over all pictures.

    Attributes:
        low: The lowest.
        high: The highest.
        counts: ``(BINS,)`` how many are in each of equal parts between the two.
    """

    low: float
    high: float
    counts: npt.NDArray[np.int64]


def kept_range(spread: Spread, method: Method) -> tuple[float, float]:
    """Which part of a tensor's values is to be told apart; what lies beyond counts as its end.

    Args:
        spread: The values.
        method: ``minmax`` keeps all; ``percentile`` lets a hundred-thousandth go at either end; ``entropy`` takes the
            range whose bytes tell most of the distribution (the least Kullback-Leibler divergence); ``squares`` takes
            the range with the least sum of squared errors, of rounding within it and of cutting off beyond it.

    Returns:
        Lowest and highest value.
    """
    if method == "minmax" or not spread.high > spread.low:
        return spread.low, spread.high
    if method == "percentile":
        edges = np.linspace(spread.low, spread.high, BINS + 1)
        share = np.cumsum(spread.counts) / spread.counts.sum()
        first, last = int(np.searchsorted(share, SHARE)), int(np.searchsorted(share, 1 - SHARE))
        return float(edges[first]), float(edges[min(last + 1, BINS)])
    limit = _least_squares(spread) if method == "squares" else _least_divergence(spread)
    return max(spread.low, -limit), min(spread.high, limit)


def _least_squares(spread: Spread) -> float:
    """Greatest magnitude to keep."""
    edges = np.linspace(spread.low, spread.high, BINS + 1)
    middles, counts = (edges[1:] + edges[:-1]) / 2, spread.counts
    best, limit = np.inf, 0.0
    for magnitude in np.linspace(0.2, 1, 81) * max(abs(spread.low), abs(spread.high)):
        low, high = max(spread.low, -magnitude), min(spread.high, magnitude)
        step = (max(high, 0.0) - min(low, 0.0)) / 255
        beyond = np.square(middles - np.clip(middles, low, high))
        squares = float(np.sum(counts * (beyond + step * step / 12)))
        if squares < best:
            best, limit = squares, float(magnitude)
    return limit


def _least_divergence(spread: Spread) -> float:
    """Greatest magnitude to keep."""
    edges = np.linspace(spread.low, spread.high, BINS + 1)
    middles = np.abs((edges[1:] + edges[:-1]) / 2)
    top = max(abs(spread.low), abs(spread.high))
    counts, _ = np.histogram(middles, BINS, (0.0, top), weights=spread.counts.astype(np.float64))
    best, limit = np.inf, top
    for stop in range(LEVELS, BINS + 1, LEVELS // 4):
        divergence = _divergence(counts, stop)
        if divergence < best:
            best, limit = divergence, top * stop / BINS
    return float(limit)


def _divergence(counts: npt.NDArray[np.float64], stop: int) -> float:
    """Kullback-Leibler divergence between values cut off at a bin and the same in `LEVELS` steps."""
    kept = counts[:stop].copy()
    filled = kept > 0
    step = np.arange(stop) * LEVELS // stop
    sums, cells = np.bincount(step, kept, LEVELS), np.bincount(step, filled, LEVELS)
    coarse = np.where(filled, (sums / np.maximum(cells, 1))[step], 0)
    kept[-1] += counts[stop:].sum()
    if not coarse.sum() or not kept.sum():
        return float("inf")
    p, q = kept / kept.sum(), coarse / coarse.sum()
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / np.maximum(q[used], 1e-9))))
