"""What a runner is told: which model looks at which source, and where the results go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lineside.pipelines.elements import Transform
from lineside.pipelines.frame import Frame
from lineside.pipelines.link import Policy
from lineside.pipelines.plan.data import Late

__all__ = ["BranchName", "Feed", "Look", "Way"]


class BranchName(NamedTuple):
    """Which model's look at which source."""

    source: str
    model: str


@dataclass(frozen=True)
class Way:
    """A way to a sink.

    Attributes:
        sink: Name of the sink.
        policy: Policy of the queue in front of it. None: nothing is lost and the source waits where it can (files); the
            oldest of 64 goes where it cannot (live sources), because a slow sink must not slow the inspection.
        chain: What is done to the frames first, for this sink alone.
    """

    sink: str
    policy: Policy | None = None
    chain: Sequence[Transform] = ()


@dataclass(frozen=True)
class Look:
    """One model's look at one source.

    Attributes:
        source: Name of the source.
        model: Name of the model.
        ways: Where the results go.
        policy: Policy of the queue in front of the model. None: ``every`` for files, ``latest`` for live sources.
        before: What is done to the frames first.
        after: Transforms that see the results in the order of capture.
        deadline_ns: Time from trigger or capture to decision after which a result is late.
        late: What becomes of such a result.
        priority: How urgent the source is.
        listener: Told each frame whose outcome is settled.
    """

    source: str
    model: str
    ways: Sequence[Way] = ()
    policy: Policy | None = None
    before: Sequence[Transform] = ()
    after: Sequence[Transform] = ()
    deadline_ns: int | None = None
    late: Late = "mark"
    priority: int = 0
    listener: Callable[[Frame], None] | None = None


@dataclass(frozen=True)
class Feed:
    """A source's way to sinks without any model."""

    source: str
    ways: Sequence[Way]
