"""The thread of one sink: takes frames from every source that it serves, in turn, and writes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from lineside.pipelines.elements import FAULTS, Sink, Transform, reason
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.inlet import Inlet
from lineside.pipelines.link import Link

__all__ = ["Drain", "Giver"]

_FIRST = 20
"""Failures and recoveries that are told one by one: a sink may fail at every other frame."""


class Giver(Protocol):
    """Who hands frames to a sink and counts what became of them."""

    def written(self, frame: Frame, sink: str, error: str | None = None) -> None:
        """The sink is through with a frame."""
        ...


@dataclass(frozen=True)
class _Member:
    giver: Giver
    chain: tuple[Transform, ...]


class Drain:
    """Writes what comes, until nothing more can come; then closes the sink.

    Args:
        sink: The sink.
        inlet: Where the frames come from.
        bus: Where events go.
        missing: Tells at the end how many frames should be in the sink and are not.
    """

    def __init__(self, sink: Sink, inlet: Inlet, bus: Bus, missing: Callable[[], int]) -> None:
        self.sink = sink
        self.inlet = inlet
        self.thread = threading.Thread(target=self._run, name=f"sink {sink.name}", daemon=True)
        self._bus = bus
        self._missing = missing
        self._members: dict[Link, _Member] = {}
        self._broken = False
        self.finishing = False
        """Whether it has its last frame and puts its file together."""

    def join(self, link: Link, giver: Giver, chain: Sequence[Transform] = ()) -> None:
        """Adds a sender; before the start.

        Args:
            link: Its queue, one of the inlet's.
            giver: Who is told what became of its frames.
            chain: What is done to them first, for this sink alone.
        """
        self._members[link] = _Member(giver, tuple(chain))

    def _run(self) -> None:
        while taken := self.inlet.take():
            ((link, frame),) = taken
            member = self._members[link]
            try:
                member.giver.written(frame, self.sink.name, self._write(frame, member.chain))
            except FAULTS as error:  # no fault of one frame may cost the sink its thread
                message = f"{self.sink.name}: a frame cannot be given back: {reason(error)}"
                self._bus.often("error", self.sink.name, "fault", message)
        self.finishing = True
        self._close(partial(self.sink.close, self._missing()))
        for transform in (transform for member in self._members.values() for transform in member.chain):
            self._close(transform.close)
        self.finishing = False

    def _close(self, close: Callable[[], None]) -> None:
        try:
            close()
        except FAULTS as error:
            self._bus.emit("error", self.sink.name, "close failed", f"{self.sink.name}: {reason(error)}")

    def _write(self, frame: Frame, chain: Sequence[Transform]) -> str | None:
        """Writes a frame; why it could not be written."""
        shown = frame.fork() if chain else frame
        try:
            if chain:
                shown.sequence, shown.outcome, shown.detections = frame.sequence, frame.outcome, frame.detections
            for transform in chain:
                transform(shown)
            self.sink.write(shown)
        except FAULTS as error:
            if not self._broken:  # A full disk fails every frame: said once, counted each time.
                self._bus.often(
                    "error", self.sink.name, "sink failed", f"{self.sink.name}: {reason(error)}", first=_FIRST
                )
            self._broken = True
            return reason(error)
        finally:
            if shown is not frame:
                shown.release()
        if self._broken:
            message = f"{self.sink.name} can write again"
            self._bus.often("info", self.sink.name, "sink works again", message, first=_FIRST)
        self._broken = False
        return None
