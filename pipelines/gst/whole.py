"""Whether a file gave all the pictures that it should have."""

from __future__ import annotations

__all__ = ["Whole"]

_SLACK = 0.25
_SLACK_SHARE = 0.02
"""What a file may end earlier than it says and still count as whole: seconds, share of its length. Sound may go on a
little longer than the pictures, and containers round their times."""
_STEADY = 0.9
"""Share of pictures at the nominal distance from which on a file counts as one of constant rate."""


class Whole:
    """Watches the times of a file's pictures go by.

    Decoders leave out what they cannot decode, and demultiplexers end where a file was cut, both without a word. So the
    times are looked at: a gap in a file of constant rate, and an end before the file's own length.

    Args:
        length: Length of the file in seconds; None where it does not say.
        rate: Its frames per second; None where it has none.

    Attributes:
        count: Pictures so far.
    """

    def __init__(self, length: float | None, rate: float | None) -> None:
        self._length = length
        self._rate = rate
        self.count = 0
        self._steady = 0
        self._gaps = 0
        self._last = 0.0
        self._end = 0.0

    def saw(self, pts: float, duration: float | None) -> None:
        """Notes a picture.

        Args:
            pts: Its time in seconds.
            duration: How long it is shown, in seconds.
        """
        if self.count and self._rate:
            steps = (pts - self._last) * self._rate
            self._steady += abs(steps - 1) < 0.2
            self._gaps += max(0, round(steps) - 1)
        self.count += 1
        self._last = pts
        self._end = max(self._end, pts + (duration or (1 / self._rate if self._rate else 0.0)))

    def lost(self) -> str | None:
        """What is missing, as the end of a sentence; None where it is whole, or nobody can know. To be asked at the end."""
        if not self.count:
            return None
        if self._length is not None and self._length - self._end > max(_SLACK, _SLACK_SHARE * self._length):
            return (
                f"ends after {self._end:.2f} of {self._length:.2f} s ({self.count} frames): it was cut off or is damaged "
                "there, unless its sound goes on without pictures"
            )
        if self._gaps and self._steady >= _STEADY * (self.count - 1 - self._gaps):
            whole = self.count + self._gaps
            return f"has gaps: {self._gaps} of {whole} frames at its constant rate are damaged, or were never recorded"
        return None
