"""Several passes of the gate: a dynamic bundle must agree with torch at more than one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from lineside.export.parity.reference import Reference
from lineside.export.parity.result import ParityReport
from lineside.export.pictures import Picture

__all__ = ["Trial", "another_shape", "joined"]


@dataclass(frozen=True)
class Trial:
    """One pass of the gate.

    Attributes:
        size: Height and width of the input, in pixels.
        batch: Pictures per run.
        reference: What the bundle must agree with at that size.
    """

    size: tuple[int, int]
    batch: int
    reference: Reference

    def named(self, pictures: Sequence[Picture]) -> list[Picture]:
        """The pictures under names that say at which shape they were looked at."""
        shape = f"{self.size[0]}x{self.size[1]} x{self.batch}"
        return [Picture(f"{picture.name} {shape}", picture.frame) for picture in pictures]


def another_shape(size: tuple[int, int], batch: int, stride: int) -> tuple[tuple[int, int], int]:
    """A size and a batch unlike the given ones: larger by other steps per axis, several pictures instead of one.

    Args:
        size: Height and width of the input, in pixels.
        batch: Pictures per run.
        stride: Greatest stride of the model.
    """
    return (size[0] + stride, size[1] + 2 * stride), 1 if batch > 1 else 3


def joined(reports: Sequence[ParityReport]) -> ParityReport:
    """One report of several passes: all pictures, and of each level the first verdict that failed, else the first.

    Args:
        reports: At least one; all with the same levels.
    """
    levels = zip(*(report.verdicts for report in reports), strict=True)
    verdicts = [next((verdict for verdict in same if not verdict.passed), same[0]) for same in levels]
    return msgspec.structs.replace(
        reports[0],
        passed=all(report.passed for report in reports),
        verdicts=tuple(verdicts),
        pictures=tuple(picture for report in reports for picture in report.pictures),
        blind=any(report.blind for report in reports),
    )
