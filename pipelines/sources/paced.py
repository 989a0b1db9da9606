"""A source held to a takt: each frame has a trigger time that was fixed before the run began."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from lineside.pipelines.elements import Source, StreamInfo
from lineside.pipelines.frame import CAPTURE, READ, TRIGGER, Frame

__all__ = ["Paced"]


class Paced:
    """Gives frame k of another source at ``begin + k * takt``, like a line that waits for nobody.

    The trigger time is stamped as planned, not as achieved: where the graph holds the source back, or the machine is
    late to wake it, that delay belongs to the frame's latency (no coordinated omission).

    Args:
        source: Where the pictures come from.
        takt_ns: Time between two parts.
        now: Monotonic clock in ns.
        sleep: Waits so many seconds, or until the given event is set.
    """

    def __init__(
        self,
        source: Source,
        takt_ns: int,
        *,
        now: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self._source = source
        self._takt_ns = takt_ns
        self._now = now
        self._sleep = sleep
        self._stop = threading.Event()

    def open(self) -> StreamInfo:
        """See `Source.open`."""
        return replace(self._source.open(), live=True, fps=1e9 / self._takt_ns)

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`."""
        begin = self._now()
        for number, frame in enumerate(self._source.frames()):
            due = begin + number * self._takt_ns
            while (left := due - self._now()) > 0 and not self._stop.is_set():
                self._sleep(self._stop, left / 1e9)
            if self._stop.is_set():
                return
            frame.clock[TRIGGER] = due
            frame.pts = number * self._takt_ns / 1e9
            now = self._now()
            frame.clock[CAPTURE] = frame.clock[READ] = now
            yield frame

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()
        self._source.stop()

    def close(self) -> None:
        """See `Source.close`."""
        self._source.close()
