"""Sources held to a clock: a takt that waits for nobody, or a video at its own speed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from lineside.pipelines.elements import Source, StreamInfo
from lineside.pipelines.frame import CAPTURE, READ, TRIGGER, Frame

__all__ = ["Paced", "Playback"]

Sleep = Callable[[threading.Event, float], object]


class Paced:
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
            if not _wait(due, self._stop, self._now, self._sleep):
                return
            frame.pts = number * self._takt_ns / 1e9
            frame.clock[TRIGGER] = due
            frame.clock[CAPTURE] = frame.clock[READ] = self._now()
            yield frame

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()
        self._source.stop()

    def close(self) -> None:
        """See `Source.close`."""
        self._source.close()


class Playback:
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
        self._source = source
        self._now = now
        self._sleep = sleep
        self._stop = threading.Event()

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
            if not _wait(begin + round(frame.pts * 1e9), self._stop, self._now, self._sleep):
                return
            # The wait for its time is part of watching, not of the frame's latency.
            took = frame.clock[READ] - frame.clock[CAPTURE]
            frame.clock[READ] = self._now()
            frame.clock[CAPTURE] = frame.clock[READ] - took
            yield frame

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()
        self._source.stop()

    def close(self) -> None:
        """See `Source.close`."""
        self._source.close()


def _wait(due: int, stop: threading.Event, now: Callable[[], int], sleep: Sleep) -> bool:
    """Waits until a moment; False where it was asked to stop."""
    while (left := due - now()) > 0 and not stop.is_set():
        sleep(stop, left / 1e9)
    return not stop.is_set()
