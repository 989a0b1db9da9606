"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Backoff", "Delays"]


@dataclass(frozen=True)
class Delays:
    """Waits between attempts.

    Attributes:
        first: The first one, seconds.
        most: The longest, seconds.
        jitter: Share by which each is longer or shorter, so that cameras which died together do not come back together.
    """

    first: float = 0.5
    most: float = 30.0
    jitter: float = 0.25


class Backoff:
    """Doubles the wait with each attempt in a row; never gives up.

    Args:
        delays: The waits.
        dice: Where the jitter comes from.
    """

    def __init__(self, delays: Delays = Delays(), dice: random.Random | None = None) -> None:
        self._delays = delays
        self._dice = dice or random.Random()
        self.failures = 0
        """Attempts in a row that came to nothing."""

    def failed(self) -> float:
        """An attempt came to nothing; gives the seconds to wait before the next."""
        grown = self._delays.first * 2.0 ** min(self.failures, 30)
        self.failures += 1
        stretch = 1.0 + self._delays.jitter * (2.0 * self._dice.random() - 1.0)
        return min(grown, self._delays.most) * stretch

    def worked(self) -> None:
        """An attempt has come to something; the next wait is the first one again."""
        self.failures = 0
