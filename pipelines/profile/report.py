"""What a takt does to a model: the accounts of one run, read from its flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lineside.pipelines.counters import Snapshot
from lineside.pipelines.flow import Flow
from lineside.pipelines.punctuality import Punctuality, punctuality
from lineside.pipelines.stages import SERVICE, TOTAL, StageStats
from lineside.runtime.errors import CheckFailed

__all__ = ["Account", "Profile", "account", "hold"]


@dataclass(frozen=True)
class Account:
    """One run.

    Attributes:
        loop: ``closed`` (the next part comes when the model is ready, as in most benchmarks) or ``open`` (parts come at
            the takt).
        policy: Policy of the inspection queue; empty for a closed loop.
        takt_ns: Time between two parts; None where they come at no takt of ours.
        deadline_ns: Time allowed from trigger to decision; None for any.
        counts: All counts.
        stages: Latency of each stage; ``total`` counts from the trigger as it was planned.
        service_over_takt: Share of the inspected parts whose service time alone was above the takt; None without one.
        owed: Parts that were due and never came, because a full queue held their source back until the end.
    """

    loop: str
    policy: str
    takt_ns: int | None
    deadline_ns: int | None
    counts: Snapshot
    stages: dict[str, StageStats]
    service_over_takt: float | None
    owed: int = 0

    @property
    def parts(self) -> int:
        """Parts that were triggered."""
        return self.counts.entered + self.owed

    @property
    def late(self) -> float:
        """Share of all parts that were decided after their deadline."""
        return self.counts.late / self.parts if self.parts else 0.0

    @property
    def uninspected(self) -> int:
        """Parts that nobody will ever decide about, for whatever reason."""
        return self.counts.lost + self.counts.in_flight + self.owed

    @property
    def never_inspected(self) -> float:
        """Share of all parts without a decision."""
        return self.uninspected / self.parts if self.parts else 0.0

    @property
    def missed(self) -> float:
        """Share of all parts without a decision in time: late or never."""
        return self.late + self.never_inspected

    @property
    def punctuality(self) -> Punctuality:
        """How the deadline was kept."""
        return punctuality(self.counts, self.stages, self.deadline_ns, self.owed)

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
                "left_in_queue": counts.never_inspected + counts.in_flight + self.owed,
            },
            "missed_share": round(self.missed, 6),
            **self.punctuality.to_dict(),
            "service_over_takt_share": None if self.service_over_takt is None else round(self.service_over_takt, 6),
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
            CheckFailed: A limit is exceeded; see `hold`.
        """
        for run in self.opened:
            hold(f"policy {run.policy}", run, p99_ms, miss)

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


def hold(what: str, run: Account, p99_ms: float | None, miss: float | None) -> None:
    """Holds one run against limits.

    Args:
        what: What the run is called in messages.
        run: The run.
        p99_ms: Highest p99 from trigger to last sink, ms; None for any.
        miss: Largest share of parts that may be late or never inspected; None for any.

    Raises:
        CheckFailed: A limit is exceeded, or there was no part that could show whether it is.
    """
    if (p99_ms is not None or miss is not None) and not run.parts:
        raise CheckFailed(f"{what}: no part came, so that nothing is known of it")
    p99 = run.stages[TOTAL].p99 if TOTAL in run.stages else float("inf")
    if p99_ms is not None and p99 > p99_ms:
        raise CheckFailed(f"{what}: p99 is {p99:.2f} ms and may be {p99_ms:.2f} ms at most")
    if miss is not None and run.missed > miss:
        raise CheckFailed(
            f"{what}: {run.missed:.3%} of {run.parts} parts were late or never inspected, and {miss:.3%} may be at most"
        )


def account(
    flow: Flow, *, loop: str, policy: str, takt_ns: int | None, deadline_ns: int | None, owed: int = 0
) -> Account:
    """Reads the accounts of a flow that has come to its end; see `Account`."""
    return Account(
        loop=loop,
        policy=policy,
        takt_ns=takt_ns,
        deadline_ns=deadline_ns,
        counts=flow.counters.snapshot(),
        stages=flow.clock.stats(),
        service_over_takt=None if takt_ns is None else flow.clock.share_above(SERVICE, takt_ns),
        owed=owed,
    )
