"""Small real elements for tests of the graph: everything waits on events, nothing on time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.runtime.errors import SinkError, SourceError


class Counting:
    """A source of so many small frames; ``gate(k)`` is called before frame k."""

    def __init__(
        self, count: int, *, live: bool = False, gate: Callable[[int], None] | None = None, breaks: int | None = None
    ) -> None:
        self.count, self.live, self.gate, self.breaks = count, live, gate, breaks
        self.given = 0
        self.closed = 0
        self._stop = threading.Event()

    def open(self) -> StreamInfo:
        return StreamInfo("counting", "memory", live=self.live, frames=self.count)

    def frames(self) -> Iterator[Frame]:
        for number in range(self.count):
            if self.gate is not None:
                self.gate(number)
            if self._stop.is_set():
                return
            if number == self.breaks:
                raise SourceError("the cable was pulled")
            self.given += 1
            yield Frame(np.full((2, 2, 3), number % 256, np.uint8), source="counting", captured=1)

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self.closed += 1


class Work:
    """A transform that calls a function."""

    def __init__(self, function: Callable[[Frame], None] = lambda frame: None, lanes: int = 1) -> None:
        self.function, self.lanes = function, lanes
        self.opened = self.closed = 0

    def open(self) -> None:
        self.opened += 1

    def __call__(self, frame: Frame) -> None:
        self.function(frame)

    def close(self) -> None:
        self.closed += 1


class Keep:
    """A sink that keeps numbers; ``gate(frame)`` is called in write and may raise."""

    def __init__(
        self,
        name: str = "keep",
        *,
        takes_failed: bool = False,
        gate: Callable[[Frame], None] | None = None,
        refuses: bool = False,
    ) -> None:
        self.name, self.takes_failed, self.gate, self.refuses = name, takes_failed, gate, refuses
        self.frames: list[int] = []
        self.errors: list[str | None] = []
        self.closed = 0

    def open(self, stream: StreamInfo) -> None:
        if self.refuses:
            raise SinkError("this place cannot be written to")

    def write(self, frame: Frame) -> None:
        if self.gate is not None:
            self.gate(frame)
        self.frames.append(frame.sequence)
        self.errors.append(frame.error)

    def close(self, missing: int = 0) -> None:
        self.closed += 1
        self.missing = missing
