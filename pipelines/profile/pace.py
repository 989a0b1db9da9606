"""Files as a line would show them: part after part at a fixed takt, round and round, whoever is ready or not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from lineside.pipelines.elements import Source, StreamInfo
from lineside.pipelines.frame import TRIGGER, Frame
from lineside.pipelines.sources.paced import Paced, Sleep

__all__ = ["AtTakt", "Rounds"]


class Rounds:
    """Gives the frames of a source that ends, again and again; each round is a source of its own.

    Its first frame is read when it is opened, so that a takt does not begin with the opening of a file.

    Args:
        make: Makes the source.
    """

    def __init__(self, make: Callable[[], Source]) -> None:
        self._make = make
        self._source = make()
        self._stop = threading.Event()
        self._held: list[Frame] = []
        self._given = self._endless()

    def open(self) -> StreamInfo:
        """See `Source.open`."""
        stream = self._source.open()
        with suppress(StopIteration):
            self._held.append(next(self._given))
        return stream

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`; ends when it is asked to, or where a round has not a single frame."""
        if self._held:
            yield self._held.pop()
        yield from self._given

    def _endless(self) -> Iterator[Frame]:
        """All rounds; the first source is open already."""
        while True:
            some = False
            for frame in self._source.frames():
                some = True
                yield frame
            if self._stop.is_set() or not some:
                return
            self._source.close()
            self._source = self._make()
            self._source.open()
            if self._stop.is_set():  # it came between, and reached only the source before
                return

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()
        self._source.stop()

    def close(self) -> None:
        """See `Source.close`."""
        for frame in self._held:
            frame.release()
        self._held.clear()
        self._source.close()


class AtTakt:
    """Gives the frames of files at a takt, and knows how many it could not give because nobody took them.

    A queue that may not lose anything holds it back, as it holds back the files themselves; the triggers stay where they
    were planned, so that the wait belongs to the latency of every part behind it.

    Args:
        make: Makes the source.
        takt_ns: Time between two parts; None: the rate that the files have of their own.
        usual_ns: Time between two parts where they have none.
        now: Monotonic clock in ns.
        sleep: Waits so many seconds, or until the given event is set.

    Attributes:
        takt_ns: Time between two parts, once it is open.
    """

    def __init__(
        self,
        make: Callable[[], Source],
        takt_ns: int | None,
        usual_ns: int,
        *,
        now: Callable[[], int] = time.monotonic_ns,
        sleep: Sleep = threading.Event.wait,
    ) -> None:
        self.takt_ns = takt_ns or usual_ns
        self._now = now
        self._sleep = sleep
        self._chosen = takt_ns is not None
        self._rounds = Rounds(make)
        self._begin: int | None = None
        self._given = 0
        self._stopped: int | None = None
        self._paced: Paced | None = None

    def open(self) -> StreamInfo:
        """See `Source.open`."""
        stream = self._rounds.open()
        if not self._chosen and stream.fps:
            self.takt_ns = max(1, round(1e9 / stream.fps))
        self._paced = Paced(self._rounds, self.takt_ns, now=self._now, sleep=self._sleep)
        return replace(stream, frames=None, fps=1e9 / self.takt_ns)

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`."""
        assert self._paced is not None, "the source is open"
        try:
            for frame in self._paced.frames():
                if self._begin is None:
                    self._begin = frame.clock[TRIGGER]
                self._given += 1
                yield frame
        finally:
            if self._stopped is None:  # it failed, or somebody had enough: nothing is due any more
                self._begin = None

    @property
    def owed(self) -> int:
        """Parts that were due when it was asked to stop, and that never came because it was held back."""
        if self._begin is None or self._stopped is None:
            return 0
        due = (self._stopped - self._begin) // self.takt_ns + 1
        return max(0, due - self._given)

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stopped = self._stopped or self._now()
        if self._paced is not None:
            self._paced.stop()

    def close(self) -> None:
        """See `Source.close`."""
        self._rounds.close()
