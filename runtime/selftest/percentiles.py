"""Percentiles by nearest rank."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["SHARES", "percentiles"]

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
"""Names of the percentiles that are told, and the share of the samples that each does not exceed."""


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """The smallest samples that the `SHARES` of them do not exceed, by name; NaN without samples.

    Args:
        samples: Of any unit.
    """
    ordered = sorted(samples)
    if not ordered:
        return dict.fromkeys(SHARES, math.nan)
    return {name: ordered[max(0, math.ceil(share * len(ordered)) - 1)] for name, share in SHARES.items()}
