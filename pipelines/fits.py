"""Whether the frames of a source fit the transforms on their ways, asked again when they turn out to be others than was known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lineside.pipelines.elements import FAULTS, StreamInfo, Transform, format_of, reason
from lineside.pipelines.events import Bus
from lineside.pipelines.frame import Frame
from lineside.pipelines.streams import fitted

__all__ = ["Fits"]


class Fits:
    """Looks at the size and pixel format of every frame of a live source, for one thread.

    A camera is opened after the graph has started, is another one after it was exchanged, and may be switched to another
    size; what does not fit then is told before frame after frame fails. Of files each such frame is told by itself.

    Args:
        source: Name of the source, for messages.
        stream: What was known of it when the graph started, and was found to fit.
        ways: Transforms on each way of its frames, in order.
        bus: Where events go.
    """

    def __init__(self, source: str, stream: StreamInfo, ways: Sequence[Sequence[Transform]], bus: Bus) -> None:
        self._source = source
        self._stream = stream
        self._ways = ways
        self._bus = bus
        self._known = (stream.size, stream.format)

    def saw(self, frame: Frame) -> None:
        """A frame came, before anybody works on it. Costs nothing where it is as the one before."""
        picture = frame.pixels
        if picture is None or frame.damage is not None or not self._stream.live:
            return
        known = (frame.size, format_of(picture))
        if known == self._known:
            return
        self._known = known
        stream = replace(self._stream, size=known[0], format=known[1])
        try:
            for way in self._ways:
                fitted(stream, way, self._source)
        except FAULTS as error:
            self._bus.often("error", self._source, "does not fit", reason(error), first=1)
