"""What the numbers of pictures tell: how many never came, and whether too many come damaged."""

from __future__ import annotations

__all__ = ["Numbers", "Storm"]

_WRAP = 0xFFFF
"""GigE Vision 1 numbers pictures from 1 to 65535 and begins again at 1; 0 is no number."""


class Numbers:
    """Counts on where a camera's own numbers begin again.

    The number of a picture comes with its first packet. Where a picture is damaged that may be missing, and what stands
    there then belongs to another one: damaged pictures are counted, their numbers are not looked at.

    Attributes:
        count: Number of the newest picture since the camera began: the camera's own until that begins again. None before the
            first whole one. That of a damaged picture is too low where others before it never came.
    """

    def __init__(self) -> None:
        self.count: int | None = None
        self._last = 0
        self._damaged = 0

    def damaged(self) -> None:
        """Counts a damaged picture."""
        self._damaged += 1
        if self.count is not None:
            self.count += 1

    def whole(self, number: int) -> int:
        """Counts a whole picture.

        Args:
            number: The camera's number of it.

        Returns:
            Pictures that the camera took since the whole one before, and of which nothing ever came.
        """
        last, self._last = self._last, number
        came, self._damaged = self._damaged, 0
        if self.count is None:
            self.count = number
            return 0
        step = number - last
        if step < 0 and last <= _WRAP and -step > _WRAP // 2:
            step += _WRAP if number else _WRAP + 1  # Some use the 0, though they should not.
        # A camera that counts anew, or says the same number twice, is not one that lost anything.
        step = max(1 + came, step)
        self.count += step - came
        return step - 1 - came


class Storm:
    """Notices when picture after picture comes damaged.

    Args:
        begins: So many damaged ones in a row begin a storm.
        ends: So many whole ones in a row end it.
    """

    def __init__(self, begins: int = 10, ends: int = 10) -> None:
        self._begins, self._ends = begins, ends
        self._row = 0
        self.raging = False

    def saw(self, *, damaged: bool) -> bool:
        """Takes note of a picture.

        Returns:
            Whether a storm has begun, or ended, with it.
        """
        self._row = self._row + 1 if damaged is not self.raging else 0
        if self._row < (self._ends if self.raging else self._begins):
            return False
        self._row, self.raging = 0, not self.raging
        return True
