"""What a sink that writes for months has around it: a disk, clocks, and somebody who is told what happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lineside.pipelines.catalog import Place
from lineside.pipelines.sinks.disk import Disk, SystemDisk
from lineside.pipelines.sinks.floor import Tell
from lineside.pipelines.sinks.growing import quiet
from lineside.pipelines.sinks.lasting import tell_of

__all__ = ["World", "world_of"]


@dataclass(frozen=True)
class World:
    """What a sink has around it; tests give it another one.

    Attributes:
        disk: The disk.
        tell: Told what happens to the sink's files.
        now: Wall clock in seconds since 1970.
        steady: Monotonic clock in seconds.
    """

    disk: Disk = field(default_factory=SystemDisk)
    tell: Tell = quiet
    now: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic


def world_of(place: Place) -> World:
    """The world of a sink in a station: the machine's own, and the station's bus."""
    return World(tell=tell_of(place))
