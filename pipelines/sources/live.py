"""What every source that is watched over can be told."""

from __future__ import annotations

import math
from dataclasses import replace

from lineside.pipelines.catalog import Options
from lineside.pipelines.units import parse_time
from lineside.pipelines.watch.supervised import Limits
from lineside.runtime.errors import BadOption

__all__ = ["Live", "limits_of"]

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
