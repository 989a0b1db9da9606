"""Intervals of a difference between two models on the same pictures.

The paired bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13): pictures are
drawn again with replacement, both models are scored on the same draw, and the interval is what lies between two
percentiles of the differences. The picture is the unit, since what is in one picture is not independent.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["draw_pictures", "percentiles"]

Floats = npt.NDArray[np.float64]


def draw_pictures(pictures: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Draws pictures with replacement, as many as there are.

    Args:
        pictures: Number of pictures.
        count: Number of draws.
        seed: Not negative; the same seed draws the same.

    Returns:
        ``(count, pictures)``: how often each picture was drawn.
    """
    return np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), size=count)


def percentiles(differences: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """The middle part of some differences.

    Args:
        differences: One per draw; draws without a value (NaN) are left out.
        confidence: Share that lies inside.

    Returns:
        Lower and upper end; NaN where no draw has a value.
    """
    values = differences[~np.isnan(differences)]
    if not values.size:
        return float("nan"), float("nan")
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
