"""How many pictures passed between two that somebody took."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Skips"]


class Skips:
    """Counts what a live pipeline dropped, from the first picture that was taken on.

    Sources that count (cameras of the operating system, the test pattern) number their pictures, and a gap is exact: what
    the driver lost is in it too. For the rest there is only how many reached the appsink. That is read a moment after the
    picture was taken, so the count is a lower bound then, short by no more than may wait in the appsink, and never too high.

    Args:
        waiting: Pictures that may wait in the appsink.
    """

    def __init__(self, waiting: int) -> None:
        self._waiting = waiting
        self._number: int | None = None
        self._begin: int | None = None
        self._taken = 0
        self._counted = 0

    def before(self, number: int | None, arrived: Callable[[], int]) -> int:
        """Pictures that passed right before the one just taken, as far as it is known by now.

        Args:
            number: Number of the picture, where the source counts.
            arrived: Tells how many pictures have reached the appsink so far; asked where the source does not count.
        """
        last, self._number = self._number, number
        if number is not None:
            self._begin = None
            # A source that counts anew is not one that lost anything.
            return 0 if last is None else max(0, number - last - 1)
        if self._begin is None:
            self._begin, self._taken, self._counted = arrived(), 0, 0
            return 0
        self._taken += 1
        passed = arrived() - self._begin - self._taken - self._waiting
        fresh = max(0, passed - self._counted)
        self._counted += fresh
        return fresh
