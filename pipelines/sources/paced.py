"""Sources held to a clock: a takt that waits for nobody, or a video at its own speed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from lineside.pipelines.elements import Source, StreamInfo
from lineside.pipelines.frame import CAPTURE, READ, TRIGGER, Frame

__all__ = ["Paced", "Playback", "Sleep"]

Sleep = Callable[[threading.Event, float], object]
"""Waits so many seconds, or until the event is set."""


class _Held:
    """A source inside another, and a wait for a moment that a stop cuts short."""

    def __init__(self, source: Source, now: Callable[[], int], sleep: Sleep) -> None:
        self._source = source
        self._now = now
        self._sleep = sleep
        self._stop = threading.Event()

    def _wait(self, due: int) -> bool:
        """Waits until a moment; False where it was asked to stop."""
        while (left := due - self._now()) > 0 and not self._stop.is_set():
            self._sleep(self._stop, left / 1e9)
        return not self._stop.is_set()

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()
        self._source.stop()

    def close(self) -> None:
        """See `Source.close`."""
        self._source.close()


class Paced(_Held):
    """Gives frame k of another source at ``begin + k * takt``, like a line that waits for nobody.

    The trigger time is stamped as planned, not as achieved: where the machine is late to wake the source, or something
    holds it back, that delay belongs to the frame's latency (no coordinated omission).

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
        sleep: Sleep = threading.Event.wait,
    ) -> None:
        super().__init__(source, now, sleep)
        self._takt_ns = takt_ns

    def open(self) -> StreamInfo:
        """See `Source.open`."""
        return replace(self._source.open(), live=True, fps=1e9 / self._takt_ns)

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`."""
        begin = self._now()
        for number, frame in enumerate(self._source.frames()):
            due = begin + number * self._takt_ns
            if not self._wait(due):
                return
            frame.pts = number * self._takt_ns / 1e9
            frame.clock[TRIGGER] = due
            frame.clock[CAPTURE] = frame.clock[READ] = self._now()
            yield frame


class Playback(_Held):
    """Gives the frames of a video no earlier than their presentation times, for someone who watches.

    It is not live: where the graph is slower the video waits, and nothing is lost.

    Args:
        source: The video.
        now: Monotonic clock in ns.
        sleep: Waits so many seconds, or until the given event is set.
    """

    def __init__(
        self, source: Source, *, now: Callable[[], int] = time.monotonic_ns, sleep: Sleep = threading.Event.wait
    ) -> None:
        super().__init__(source, now, sleep)

    def open(self) -> StreamInfo:
        """See `Source.open`."""
        return self._source.open()

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`."""
        begin, last = 0, 0.0
        for frame in self._source.frames():
            if not begin or frame.pts < last:  # The next video of several begins anew.
                begin = self._now() - round(frame.pts * 1e9)
            last = frame.pts
            if not self._wait(begin + round(frame.pts * 1e9)):
                return
            # The wait for its time is part of watching, not of the frame's latency.
            took = frame.clock[READ] - frame.clock[CAPTURE]
            frame.clock[READ] = self._now()
            frame.clock[CAPTURE] = frame.clock[READ] - took
            yield frame
