"""A camera that has to be there when it is asked for, and is watched over from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lineside.pipelines.catalog import Place, make, options_of
from lineside.pipelines.elements import Source, StreamInfo
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.watch.isolated import Isolated
from lineside.pipelines.watch.supervised import Limits, Supervised

__all__ = ["Attended", "attended"]


class Attended(Supervised):
    """As `Supervised`, for somebody who waits in front of it: a camera that cannot be opened at all is an error at once.

    Args:
        make: Builds the source; the first one is opened by `open`, and its frames are the first.
        name: Its name, for states; its frames go by what the source calls itself.
        bus: Where states are told.
        more: As for `Supervised`.
    """

    def __init__(self, make: Callable[[], Source], name: str, bus: Bus, *more: Any, **options: Any) -> None:
        super().__init__(self._next, name, bus, *more, **options)
        self._build = make
        self._opened: _Opened | None = None
        self._title = name

    def open(self) -> StreamInfo:
        """See `Source.open`.

        Raises:
            SourceError: There is no such camera, or another program has it.
        """
        source = self._build()
        stream = source.open()
        self._opened, self._title = _Opened(source, stream), stream.name
        return stream

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`; frames of a process of its own bear no name of a source."""
        for frame in super().frames():
            frame.source = frame.source or self._title
            yield frame

    def close(self) -> None:
        """See `Source.close`."""
        super().close()
        opened, self._opened = self._opened, None
        if opened is not None:  # nobody came to read it
            opened.close()

    def _next(self) -> Source:
        """The source that was opened already, then new ones."""
        opened, self._opened = self._opened, None
        return opened or self._build()


class _Opened:
    """A source that is open."""

    def __init__(self, source: Source, stream: StreamInfo) -> None:
        self._source, self._stream = source, stream
        self.frames, self.stop, self.close = source.frames, source.stop, source.close

    def open(self) -> StreamInfo:
        return self._stream


def attended(index: int, bus: Bus, limits: Limits = Limits()) -> Attended:
    """A camera of the operating system, watched over as in a station.

    Args:
        index: Its number, from 0.
        bus: Where events go.
        limits: When it counts as frozen.
    """
    element, name = "camera", f"camera {index}"
    options = options_of(element, {"index": index}, name)
    place = Place(name=name, bus=bus)
    return Attended(
        lambda: make(element, options, place), name, bus, limits, isolate=lambda: Isolated(element, options, place)
    )
