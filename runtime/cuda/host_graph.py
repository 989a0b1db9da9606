"""Graphs of the host device: work that was recorded, done by a stream as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lineside.runtime.cuda.host_stream import Fault, HostStream, Work
from lineside.runtime.errors import EngineFailed

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Stream

__all__ = ["HostGraph", "record_works"]


class HostGraph:
    """A list of work; made by `HostDevice.capture`.

    Args:
        works: What was recorded.
        enqueue: Gives the whole to a stream of the device; raises EngineFailed where that is closed or lost.
        fault: That of the device.
    """

    def __init__(self, works: Sequence[Work], enqueue: Callable[[Stream, Work], None], fault: Fault) -> None:
        self._works: tuple[Work, ...] | None = tuple(works)
        self._enqueue = enqueue
        self._fault = fault

    def __len__(self) -> int:
        return len(self._works or ())

    def launch(self, stream: Stream) -> None:
        """Enqueues all of it.

        Raises:
            EngineFailed: It was freed, or the device is closed or lost.
        """
        works = self._works
        if works is None:
            raise EngineFailed("this graph was freed: capture it again")

        def run() -> None:
            for work in works:
                if not self._fault.lost:
                    self._do(work)

        to_host, to_device = sum(work.to_host for work in works), sum(work.to_device for work in works)
        self._enqueue(stream, Work("a graph", run, to_host, to_device))

    def free(self) -> None:
        """Lets go of it."""
        self._works = None

    def _do(self, work: Work) -> None:
        """Does a part; a loss names that part."""
        try:
            work.run()
        except EngineFailed:
            raise
        except BaseException as error:
            self._fault.lose(work.label, error)


def record_works(stream: HostStream, record: Callable[[], None]) -> list[Work]:
    """Everything that a function puts on a stream, without doing any of it.

    Args:
        stream: It must have nothing to do.
        record: What puts something there.

    Raises:
        EngineFailed: The stream has work to do.
    """
    if not stream.idle:
        raise EngineFailed("a graph cannot be captured on a stream that has work to do: synchronise it first")
    works: list[Work] = []
    stream.recording = works
    try:
        record()
    finally:
        stream.recording = None
    return works
