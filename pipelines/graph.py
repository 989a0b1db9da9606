"""The usual graph: one source, one model, any number of sinks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lineside.pipelines.elements import Sink, Source, StreamInfo, Transform
from lineside.pipelines.events import Bus
from lineside.pipelines.flow import Flow, apply
from lineside.pipelines.frame import Frame
from lineside.pipelines.link import Policy
from lineside.pipelines.looks import BranchName, Look, Way
from lineside.pipelines.runner import Runner

__all__ = ["Branch", "Graph", "apply"]

_NAME = BranchName("source", "model")


@dataclass(frozen=True)
class Branch:
    """A sink and the policy of the queue in front of it.

    Attributes:
        sink: The sink.
        policy: Its queue's policy; None for what is usual, see `lineside.pipelines.looks.Way`.
    """

    sink: Sink
    policy: Policy | None = None


class Graph(Runner):
    """Runs frames from one source through one transform into any number of sinks.

    Args:
        source: Where frames come from.
        transform: What is done to each, by as many threads as it has lanes.
        sinks: Where results go; a plain sink stands for `Branch` with its usual policy.
        policy: Policy of the queue in front of the transform. None: ``every`` for files, ``latest`` for live sources.
        deadline_ns: Time from trigger or capture to decision after which a frame counts as late.
        limit: Stop after so many frames.
        bus: Where events go.
        now: Monotonic clock in ns.
        listener: Told each frame whose outcome is settled.
    """

    def __init__(
        self,
        source: Source,
        transform: Transform,
        sinks: Sequence[Sink | Branch] = (),
        *,
        policy: Policy | None = None,
        deadline_ns: int | None = None,
        limit: int | None = None,
        bus: Bus | None = None,
        now: Callable[[], int] = time.monotonic_ns,
        listener: Callable[[Frame], None] | None = None,
    ) -> None:
        super().__init__(bus, now)
        branches = [sink if isinstance(sink, Branch) else Branch(sink) for sink in sinks]
        self.add_source(_NAME.source, source, limit)
        self.add_model(_NAME.model, transform)
        for branch in branches:
            self.add_sink(branch.sink)
        ways = [Way(branch.sink.name, branch.policy) for branch in branches]
        self.add_look(Look(*_NAME, ways, policy, deadline_ns=deadline_ns, listener=listener))

    @property
    def flow(self) -> Flow:
        """Counters, queues and histograms, once started."""
        if not self.flows:
            raise RuntimeError("the graph has not been started")
        return self.flows[_NAME]

    @property
    def stream(self) -> StreamInfo:
        """What the source said about itself, once started."""
        return self.stream_of(_NAME.source)

    @property
    def failure(self) -> BaseException | None:
        """What ended the source before its time; None where nothing did."""
        lines = self.lines()
        return lines[_NAME.source].failure if lines else None

    def run(self) -> None:
        """Starts, and waits until the source has ended and everything is written.

        Raises:
            LinesideError: An element could not be opened.
        """
        self.start()
        self.join()
