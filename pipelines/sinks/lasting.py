"""What sinks that write for months are told: segments, retention, floor, syncs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from lineside.pipelines.catalog import Options, Place
from lineside.pipelines.events import Level
from lineside.pipelines.sinks.floor import Tell
from lineside.pipelines.units import parse_bytes, parse_time
from lineside.runtime.errors import BadOption

__all__ = ["Dated", "Keeping", "Lasting", "Rules", "seconds", "tell_of"]

_LATEST_SYNC = 30.0
"""Seconds after which small files are synced where that is left to the system: they have no name before."""


@dataclass(frozen=True)
class Rules:
    """`Lasting` and `Keeping` in numbers.

    Attributes:
        rotate_s: Seconds after which a segment ends; None for any length.
        rotate_bytes: Bytes at which it ends; None for any size.
        keep_s: Seconds that a finished segment stays; None for ever.
        keep_bytes: Bytes of all segments together; None for any number.
        sync_s: Seconds in which what was written is forced onto the disk; 0 after each record, None never.
        floor: Bytes that stay free on the file system.
    """

    rotate_s: float | None = None
    rotate_bytes: int | None = None
    keep_s: float | None = None
    keep_bytes: int | None = None
    sync_s: float | None = None
    floor: int = 0

    @property
    def rotates(self) -> bool:
        """Whether there is more than one segment."""
        return self.rotate_s is not None or self.rotate_bytes is not None


class Keeping(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for everything that writes to a disk for long.

    Attributes:
        keep: How long results stay, such as ``30d``, counted from their last write; empty for ever.
        keep_size: How much stays, such as ``50GB``: above it the oldest goes; empty for any amount.
        sync: How long after it was written a result lies on the disk itself, so that a loss of power does not take it:
            a time such as ``1s``, ``each`` (every record, slow), or ``system`` (when the operating system gets to it,
            half a minute on most). A kill of the process alone takes nothing that was written.
        floor: Room that stays free on the disk; below it nothing is written, and what is not written is counted.
    """

    keep: str = ""
    keep_size: str = ""
    sync: str = "1s"
    floor: str = "500MB"

    def __post_init__(self) -> None:
        self.rules()

    def rules(self) -> Rules:
        """The options in numbers.

        Raises:
            BadOption: One of them cannot be meant.
        """
        return Rules(
            keep_s=seconds(self.keep),
            keep_bytes=parse_bytes(self.keep_size) if self.keep_size else None,
            sync_s=_sync(self.sync),
            floor=parse_bytes(self.floor),
        )


class Dated(Keeping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for many small files, in folders by UTC time.

    Attributes:
        rotate: How long one folder lasts, such as ``1h``.
    """

    rotate: str = "1h"

    def rules(self) -> Rules:
        """See `Keeping.rules`."""
        kept = super().rules()
        sync = _LATEST_SYNC if kept.sync_s is None else kept.sync_s
        return replace(kept, rotate_s=seconds(self.rotate), sync_s=sync)


class Lasting(Keeping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for files that grow.

    Attributes:
        rotate: How long a segment is, such as ``1h``; it ends at whole multiples of that in UTC. Empty for any length.
        rotate_size: How large a segment grows, such as ``100MB``; empty for any size. Without `rotate` and
            `rotate_size` there is one file, which has exactly the name it was given.
    """

    rotate: str = ""
    rotate_size: str = ""

    def rules(self) -> Rules:
        """See `Keeping.rules`."""
        kept = super().rules()
        size = parse_bytes(self.rotate_size) if self.rotate_size else None
        rules = replace(kept, rotate_s=seconds(self.rotate), rotate_bytes=size)
        if rules.rotate_bytes == 0:
            raise BadOption("rotate_size=0 makes no segment; leave it empty for one file")
        if (self.keep or self.keep_size) and not rules.rotates:
            raise BadOption("keep and keep_size remove old segments, and there are none; add rotate=1h or the like")
        return rules


def seconds(text: str) -> float | None:
    """A time in seconds; None for an empty text.

    Raises:
        BadOption: It is no time.
    """
    return parse_time(text) / 1e9 if text else None


def _sync(text: str) -> float | None:
    if text in ("each", "system"):
        return 0.0 if text == "each" else None
    try:
        return seconds(text or "nothing")
    except BadOption:
        raise BadOption(f"sync={text} is not known; write a time such as 1s, each or system") from None


def tell_of(place: Place) -> Tell:
    """How a sink tells the bus what happens to it."""
    return partial(_tell, place)


def _tell(place: Place, level: Level, kind: str, message: str) -> None:
    place.bus.emit(level, place.name, kind, message)
