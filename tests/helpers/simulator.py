"""Drives the accounting of a graph from a list of events and a clock of its own: no threads, no waiting.

The same `Flow` that the graph uses gets the same calls, in the order in which a line, lanes and sinks of given speeds
would make them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count

import numpy as np

from lineside.pipelines.flow import Flow, Terms
from lineside.pipelines.frame import CAPTURE, READ, TRIGGER, Frame
from lineside.pipelines.inlet import Inlet
from lineside.pipelines.link import Policy

PIXELS = np.zeros((1, 1, 3), np.uint8)


class Simulator:
    """A source, lanes and sinks in virtual time (ns).

    Args:
        arrivals: When each part comes.
        service: Time a lane needs for part k.
        sinks: Per sink its policy, whether it takes failed frames, and the time it needs for part k.
        fails: Whether the transform fails on part k.
        broken: Whether a sink fails on part k.
        live: The line does not wait; otherwise a full queue with policy ``every`` holds it back.
        watch: Called after every event.
        policy, lanes, deadline_ns: As for `Flow`.
    """

    def __init__(
        self,
        arrivals: Sequence[int],
        service: Callable[[int], int],
        *,
        policy: Policy,
        lanes: int = 1,
        deadline_ns: int | None = None,
        sinks: dict[str, tuple[Policy, bool, Callable[[int], int]]] | None = None,
        fails: Callable[[int], bool] = lambda k: False,
        broken: Callable[[str, int], bool] = lambda name, k: False,
        live: bool = True,
        watch: Callable[[Simulator], None] = lambda simulator: None,
    ) -> None:
        self.time = 0
        self.ended: list[Frame] = []
        self.busy = 0
        self.writing: dict[str, int] = dict.fromkeys(sinks or {}, 0)
        self.written: dict[str, list[int]] = {name: [] for name in sinks or {}}
        self._service, self._sinks = service, sinks or {}
        self._fails, self._broken, self._live, self._watch = fails, broken, live, watch
        self._lanes = lanes
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()
        self._arrivals = list(arrivals)
        self._next = 0
        self._started = False
        self._inlet = Inlet(now=lambda: self.time)
        self.flow = Flow(
            "line",
            self._inlet,
            Terms(policy, patient=not live, deadline_ns=deadline_ns),
            sinks=list(self._sinks),
            lanes=lanes,
            now=lambda: self.time,
            listener=self.ended.append,
        )
        for name, (sink_policy, failed, _) in self._sinks.items():
            self.flow.outlets.join(name, Inlet(), sink_policy, takes_failed=failed)

    def run(self, until: int | None = None) -> Flow:
        """Plays all events, or those up to a moment."""
        if not self._started and self._arrivals:
            self._started = True
            self._at(self._arrivals[0], self._arrive)
        while self._events and (until is None or self._events[0][0] <= until):
            self.time, _, action = heapq.heappop(self._events)
            action()
            self._work()
            self._watch(self)
        return self.flow

    def _at(self, time: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(time, self.time), next(self._numbers), action))

    def _arrive(self) -> None:
        if not self._live and self.flow.queue.full and self.flow.queue.policy.kind == "every":
            # Held back: comes again when the next thing happens.
            self._at(self._events[0][0] if self._events else self.time, self._arrive)
            return
        frame = Frame(PIXELS, name=str(self._next))
        # Parts are triggered on time even where the source is held back.
        frame.clock[TRIGGER] = self._arrivals[self._next]
        frame.clock[CAPTURE] = frame.clock[READ] = self.time
        self._next += 1
        if self._next < len(self._arrivals):
            self._at(self._arrivals[self._next], self._arrive)
        self.flow.arrive(frame, wait=False)

    def _work(self) -> None:
        """Gives idle lanes and sinks what waits for them."""
        while self.busy < self._lanes and (taken := self._inlet.take(wait=False)):
            ((_, frame),) = taken
            self.busy += 1
            self._at(self.time + self._service(int(frame.name)), lambda f=frame: self._finish(f))
        for name, (_, _, speed) in self._sinks.items():
            if not self.writing[name] and (frame := self.flow.outlets.links[name].poll()) is not None:
                self.writing[name] = 1
                self._at(self.time + speed(int(frame.name)), lambda f=frame, n=name: self._wrote(n, f))

    def _finish(self, frame: Frame) -> None:
        self.busy -= 1
        if self._fails(int(frame.name)):
            frame.error = "the transform failed"
        self.flow.finish(frame)

    def _wrote(self, name: str, frame: Frame) -> None:
        self.writing[name] = 0
        failed = self._broken(name, int(frame.name))
        if not failed:
            self.written[name].append(frame.sequence)
        self.flow.written(frame, name, "no space" if failed else None)
