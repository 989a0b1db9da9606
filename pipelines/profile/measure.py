"""Runs a model at a takt, and as fast as it can, and keeps the same accounts of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from lineside.pipelines.elements import Transform
from lineside.pipelines.events import Bus
from lineside.pipelines.flow import Flow, Terms
from lineside.pipelines.frame import Pixels
from lineside.pipelines.graph import Graph, apply
from lineside.pipelines.inlet import Inlet
from lineside.pipelines.link import Policy, PolicyKind
from lineside.pipelines.profile.report import Account, account
from lineside.pipelines.sources.memory import Memory
from lineside.pipelines.sources.paced import Paced

__all__ = ["closed_loop", "open_loop"]

Stopped = Callable[[], bool]


def closed_loop(
    transform: Transform,
    pictures: Sequence[Pixels],
    *,
    seconds: float,
    takt_ns: int,
    deadline_ns: int,
    least: int = 20,
    stopped: Stopped = lambda: False,
) -> Account:
    """One part after the other, each as soon as the one before is through: service times.

    Args:
        transform: What is done to a part; open already.
        pictures: Parts, in turn.
        seconds: For how long.
        takt_ns: Takt that the service times are compared with.
        deadline_ns: Time allowed for a part.
        least: Parts even if that takes longer.
        stopped: Whether to end early.
    """
    inlet = Inlet()
    flow = Flow("parts", inlet, Terms(Policy("every", 1), deadline_ns=deadline_ns))
    end = time.monotonic() + seconds
    for number, frame in enumerate(Memory(pictures).frames(), start=1):
        flow.arrive(frame, wait=False)
        ((_, taken),) = inlet.take(wait=False)
        apply(transform, taken)
        flow.finish(taken)
        if stopped() or (number >= least and time.monotonic() >= end):
            break
    return account(flow, loop="closed", policy="", takt_ns=takt_ns, deadline_ns=deadline_ns)


def open_loop(
    transform: Transform,
    pictures: Sequence[Pixels],
    *,
    policy: PolicyKind,
    takt_ns: int,
    deadline_ns: int,
    seconds: float,
    bus: Bus | None = None,
    stopped: Stopped = lambda: False,
    show: Callable[[Graph], None] = lambda graph: None,
) -> Account:
    """Parts come at the takt, fixed in advance, whether the model is ready or not.

    Args:
        transform: What is done to a part.
        pictures: Parts, in turn.
        policy: ``latest``: a part that is still waiting gives way to the next; ``every``: all wait in line.
        takt_ns: Time between two parts.
        deadline_ns: Time allowed from trigger to decision.
        seconds: For how long parts come. A line that is too fast for the model leaves a queue, which is worked off for
            half as long again and then given up.
        bus: Where events go.
        stopped: Whether to end early.
        show: Called about ten times a second, for progress.
    """
    parts = max(1, round(seconds * 1e9 / takt_ns))
    # Parts share the pictures in memory, so a line of any length costs next to nothing.
    queue = Policy("latest") if policy == "latest" else Policy(policy, parts)
    graph = Graph(
        Paced(Memory(pictures, parts), takt_ns), transform, [], policy=queue, deadline_ns=deadline_ns, bus=bus
    )
    end = time.monotonic() + seconds * 1.5 + 5.0
    graph.start()
    while not graph.join(0.1):
        show(graph)
        if stopped() or time.monotonic() > end:
            graph.close(drain=0.0)
            break
    return account(graph.flow, loop="open", policy=policy, takt_ns=takt_ns, deadline_ns=deadline_ns)
