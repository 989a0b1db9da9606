"""Pictures that come when somebody asks for them, and only then."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from lineside.pipelines.elements import Source, StreamInfo
from lineside.pipelines.frame import CAPTURE, READ, TRIGGER, Frame
from lineside.runtime.errors import SourceError

__all__ = ["Outside"]

_MOST = 1000
"""So many triggers may wait."""
_END = None
"""Wakes who waits for a trigger."""


class Outside:
    """Gives the next frame of another source at each trigger from outside, see `lineside.pipelines.triggers`.

    Args:
        source: Where the pictures come from, which waits for nobody itself.
        name: Name of the source.
    """

    def __init__(self, source: Source, name: str) -> None:
        self._source = source
        self._name = name
        self._asked: queue.Queue[tuple[int, str | None, int | None] | None] = queue.Queue()
        self._stop = threading.Event()

    def open(self) -> StreamInfo:
        """See `Source.open`."""
        stream = self._source.open()
        return replace(stream, name=self._name or stream.name, kind="camera", live=True, fps=None, waits=True)

    def trigger(self, part: str | None = None, encoder: int | None = None, when: int | None = None) -> None:
        """See `lineside.pipelines.triggers.Triggered`.

        Raises:
            SourceError: It has ended, or a thousand triggers wait already.
        """
        if self._stop.is_set():
            raise SourceError(f"{self._name} has ended")
        if self._asked.qsize() >= _MOST:
            raise SourceError(f"{_MOST} triggers of {self._name} wait for their pictures: it is too slow for them")
        self._asked.put((time.monotonic_ns() if when is None else when, part, encoder))

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`."""
        begin: int | None = None
        pictures = enumerate(self._source.frames())
        while (asked := self._asked.get()) is not _END:
            when, part, encoder = asked
            begin = when if begin is None else begin
            found = next(pictures, None)
            if found is None:
                return
            number, frame = found
            frame.trigger, frame.part, frame.encoder = number, part, encoder
            frame.pts = (when - begin) / 1e9
            now = time.monotonic_ns()
            frame.clock = {TRIGGER: when, CAPTURE: now, READ: now}
            yield frame

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()
        self._source.stop()
        self._asked.put(_END)

    def close(self) -> None:
        """See `Source.close`."""
        self._source.close()
