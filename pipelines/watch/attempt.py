"""One life of a source: made, opened, read and closed by a thread of its own, so that one that hangs holds nobody up."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from lineside.pipelines.elements import FAULTS, Source, StreamInfo, reason
from lineside.pipelines.frame import Frame

__all__ = ["Attempt", "Over"]

_PLACES = 2
"""Frames between the source's thread and its reader, who never waits for anything else."""
_LOOK = 0.1
"""Seconds between two looks at whether anybody still wants the frames."""


class Over(Exception):
    """A source has come to its end, with or without an error."""


class Attempt:
    """Runs a source from its making to its end. Whatever hangs there, also in making it, holds nobody up.

    Args:
        make: Makes the source.
        name: Its name, for the thread.
    """

    def __init__(self, make: Callable[[], Source], name: str) -> None:
        self.source: Source | None = None
        """The source, once it is made."""
        self.stream: StreamInfo | None = None
        """What it said about itself, once it is open."""
        self._make = make
        self._name = name
        self._handed: queue.Queue[Frame | Over] = queue.Queue(_PLACES)
        self._unwanted = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"capture {name}", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether its thread is through."""
        return not self._thread.is_alive()

    def next(self, timeout: float) -> Frame | None:
        """The next frame.

        Args:
            timeout: Longest wait, seconds.

        Returns:
            The frame; None where none came in time.

        Raises:
            Over: None will come any more; the text says why, and is empty for an end without an error.
        """
        with suppress(queue.Empty):
            found = self._handed.get(timeout=timeout)
            if isinstance(found, Over):
                raise found
            return found
        return None

    def stop(self) -> None:
        """Says that its frames are not wanted any more. Returns at once, whatever the source does with that."""
        with self._lock:
            self._unwanted.set()
            source = self.source
        if source is not None:
            threading.Thread(target=_ask, args=(source,), name=f"stop {self._name}", daemon=True).start()

    def give_up(self, grace: float) -> bool:
        """Ends it, whatever state it is in; frames that still come are let go.

        Args:
            grace: Seconds to wait for its end.

        Returns:
            Whether it has ended. One that hangs is left behind, and closed by its own thread should it ever return.
        """
        self.stop()
        self._thread.join(grace)
        self._empty()
        return self.ended

    def _run(self) -> None:
        over = Over("")
        try:
            source = self._make()
            with self._lock:
                self.source = source
            try:
                if not self._unwanted.is_set():
                    self._read(source)
            finally:
                with suppress(*FAULTS):  # what cannot be closed is left to the next one that is opened
                    source.close()
        except FAULTS as error:
            over = Over(reason(error))
        self._hand(over)

    def _read(self, source: Source) -> None:
        self.stream = source.open()
        for frame in source.frames():
            if not self._hand(frame):
                break

    def _hand(self, found: Frame | Over) -> bool:
        """Hands something to the reader; whether anybody still wants it."""
        while not self._unwanted.is_set():
            with suppress(queue.Full):
                self._handed.put(found, timeout=_LOOK)
                return True
        if isinstance(found, Frame):
            found.release()
        return False

    def _empty(self) -> None:
        """Lets go of what nobody will read."""
        with suppress(queue.Empty):
            while True:
                found = self._handed.get_nowait()
                if isinstance(found, Frame):
                    found.release()


def _ask(source: Source) -> None:
    """Asks a source to end; what it has against that helps nobody."""
    with suppress(*FAULTS):
        source.stop()
