"""What every source that is watched over can be told."""

from __future__ import annotations

import math
from dataclasses import replace

from lineside.pipelines.catalog import Options
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.units import parse_time
from lineside.pipelines.watch.supervised import Limits
from lineside.runtime.errors import BadOption

__all__ = ["Live", "limits_of", "stated", "with_size"]

_NEVER = "never"


class Live(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source that the world does not wait for.

    Attributes:
        stall: How long it may be silent before it counts as frozen and is built anew, such as ``2s``, or ``never``. Where it
            is empty: five seconds, or three periods of a camera slower than that; one that something triggers may be
            silent for as long as no trigger of ours waits for its picture.
    """

    stall: str = ""

    def __post_init__(self) -> None:
        if self.stall:
            _seconds(self.stall)

    def stream(self, name: str) -> StreamInfo:
        """What is known of its stream before it is opened: size, rate and pixel format as far as it is told them.

        Args:
            name: Its name in the graph.
        """
        return StreamInfo(name, "camera", live=True)


def stated(options: Options, name: str) -> StreamInfo:
    """What is known of a live source's stream before it is opened, see `Live.stream`.

    Args:
        options: What it is told.
        name: Its name in the graph.
    """
    return options.stream(name) if isinstance(options, Live) else StreamInfo(name, "camera", live=True)


def with_size(stream: StreamInfo, width: int | None, height: int | None, fps: float | None) -> StreamInfo:
    """A stream with a size and rate, as far as they are given; half a size is none.

    Args:
        stream: The stream.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
    """
    size = None if width is None or height is None else (height, width)
    return replace(stream, size=size or stream.size, fps=fps or stream.fps)


def limits_of(options: Options, limits: Limits) -> Limits:
    """The limits of a source, which may have some of its own.

    Args:
        options: What it is told.
        limits: Those of the station.
    """
    if not isinstance(options, Live) or not options.stall:
        return limits
    silence = _seconds(options.stall)
    return replace(limits, stall=silence, periods=0.0, waiting=silence)


def _seconds(text: str) -> float:
    """A limit in seconds; infinite for none.

    Raises:
        BadOption: It is no time.
    """
    if text == _NEVER:
        return math.inf
    try:
        return parse_time(text) / 1e9
    except BadOption:
        raise BadOption(f"stall={text} is not known; write a time such as 2s, or never") from None
