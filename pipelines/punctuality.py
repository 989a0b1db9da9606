"""How a branch keeps its deadline: how many parts had no decision in time, and by how much the late ones were late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lineside.pipelines.counters import Snapshot
from lineside.pipelines.stages import LATE_BY, StageStats

__all__ = ["Punctuality", "punctuality"]


@dataclass(frozen=True)
class Punctuality:
    """How the parts of one source kept their deadline in front of one model.

    Attributes:
        deadline_ns: Time from trigger (or capture) to decision; None for any.
        parts: Parts that were due.
        missed: Those without a decision in time: late, dropped, incomplete, never inspected, failed, or in flight.
        lateness: By how much the late ones were late, ms; None where none was.
    """

    deadline_ns: int | None
    parts: int
    missed: int
    lateness: StageStats | None

    @property
    def share(self) -> float:
        """Share of the parts without a decision in time, in [0, 1]."""
        return self.missed / self.parts if self.parts else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values: ``deadline_ms``, ``missed`` with ``count`` and ``share``, ``lateness_ms``."""
        by = self.lateness
        return {
            "deadline_ms": None if self.deadline_ns is None else self.deadline_ns / 1e6,
            "missed": {"count": self.missed, "share": round(self.share, 6)},
            "lateness_ms": by and {name: round(getattr(by, name), 3) for name in ("p50", "p99", "max")},
        }


def punctuality(
    counts: Snapshot, stages: Mapping[str, StageStats], deadline_ns: int | None, owed: int = 0
) -> Punctuality:
    """Reads how a deadline was kept, at the end of a run.

    Args:
        counts: What became of the parts.
        stages: How long they took.
        deadline_ns: Time from trigger (or capture) to decision; None for any.
        owed: Parts that were due and never came.
    """
    missed = counts.late + counts.lost + counts.in_flight + owed
    return Punctuality(deadline_ns, counts.entered + owed, missed, stages.get(LATE_BY))
