"""What a takt does to a model: the accounts of one run, read from its flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lineside.pipelines.counters import Snapshot
from lineside.pipelines.flow import Flow
from lineside.pipelines.stages import SERVICE, TOTAL, StageStats
from lineside.runtime.errors import CheckFailed

__all__ = ["Account", "Profile", "account"]


@dataclass(frozen=True)
class Account:
    """One run.

    Attributes:
        loop: ``closed`` (the next part comes when the model is ready, as in most benchmarks) or ``open`` (parts come at
            the takt).
        policy: Policy of the inspection queue; empty for a closed loop.
        takt_ns: Time between two parts.
        deadline_ns: Time allowed from trigger to decision.
        counts: All counts.
        stages: Latency of each stage; ``total`` counts from the trigger as it was planned.
        service_over_takt: Share of the inspected parts whose service time alone was above the takt.
    """

    loop: str
    policy: str
    takt_ns: int
    deadline_ns: int
    counts: Snapshot
    stages: dict[str, StageStats]
    service_over_takt: float

    @property
    def parts(self) -> int:
        """Parts that were triggered."""
        return self.counts.entered

    @property
    def late(self) -> float:
        """Share of all parts that were decided after their deadline."""
        return self.counts.late / self.parts if self.parts else 0.0

    @property
    def uninspected(self) -> int:
        """Parts that nobody will ever decide about, for whatever reason."""
        return self.counts.lost + self.counts.in_flight

    @property
    def never_inspected(self) -> float:
        """Share of all parts without a decision."""
        return self.uninspected / self.parts if self.parts else 0.0

    @property
    def missed(self) -> float:
        """Share of all parts without a decision in time: late or never."""
        return self.late + self.never_inspected

    @property
    def jitter(self) -> float:
        """p99 less p50 from trigger to last sink, ms."""
        total = self.stages.get(TOTAL)
        return total.p99 - total.p50 if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The account as plain values; times in ms."""
        counts = self.counts
        return {
            "loop": self.loop,
            "policy": self.policy or None,
            "parts": self.parts,
            "inspected_in_time": counts.inspected,
            "late": {"count": counts.late, "share": round(self.late, 6)},
            "never_inspected": {
                "count": self.uninspected,
                "share": round(self.never_inspected, 6),
                "dropped": dict(counts.dropped),
                "failed": counts.failed,
                "incomplete": counts.incomplete,
                "left_in_queue": counts.never_inspected + counts.in_flight,
            },
            "missed_share": round(self.missed, 6),
            "service_over_takt_share": round(self.service_over_takt, 6),
            "jitter_ms": round(self.jitter, 3),
            "stages": {name: stats.to_dict() for name, stats in self.stages.items()},
        }


@dataclass(frozen=True)
class Profile:
    """A closed loop and the open loops beside it.

    Attributes:
        bundle: Path of the bundle.
        engine: Name of the engine.
        source: Where the pictures came from.
        size: Height and width of the first picture in pixels.
        takt_ns: Time between two parts.
        deadline_ns: Time allowed from trigger to decision.
        closed: Service times, one part after the other.
        opened: One run for each policy.
        stopped: Name of the signal that ended it early; empty where none did.
    """

    bundle: str
    engine: str
    source: str
    size: tuple[int, int]
    takt_ns: int
    deadline_ns: int
    closed: Account
    opened: tuple[Account, ...]
    stopped: str = ""

    def check(self, p99_ms: float | None = None, miss: float | None = None) -> None:
        """Holds every open loop against limits.

        Args:
            p99_ms: Highest p99 from trigger to last sink, ms; None for any.
            miss: Largest share of parts that may be late or never inspected; None for any.

        Raises:
            CheckFailed: A limit is exceeded.
        """
        for run in self.opened:
            p99 = run.stages[TOTAL].p99 if TOTAL in run.stages else float("inf")
            if p99_ms is not None and p99 > p99_ms:
                raise CheckFailed(f"policy {run.policy}: p99 is {p99:.2f} ms and may be {p99_ms:.2f} ms at most")
            if miss is not None and run.missed > miss:
                raise CheckFailed(
                    f"policy {run.policy}: {run.missed:.3%} of {run.parts} parts were late or never inspected, and "
                    f"{miss:.3%} may be at most"
                )

    def to_dict(self) -> dict[str, Any]:
        """The profile as plain values; times in ms."""
        return {
            "bundle": self.bundle,
            "engine": self.engine,
            "source": self.source,
            "size": list(self.size),
            "takt_ms": self.takt_ns / 1e6,
            "deadline_ms": self.deadline_ns / 1e6,
            "stopped": self.stopped or None,
            "closed_loop": self.closed.to_dict(),
            "open_loop": [run.to_dict() for run in self.opened],
        }


def account(flow: Flow, *, loop: str, policy: str, takt_ns: int, deadline_ns: int) -> Account:
    """Reads the accounts of a flow that has come to its end."""
    return Account(
        loop=loop,
        policy=policy,
        takt_ns=takt_ns,
        deadline_ns=deadline_ns,
        counts=flow.counters.snapshot(),
        stages=flow.clock.stats(),
        service_over_takt=flow.clock.share_above(SERVICE, takt_ns),
    )
