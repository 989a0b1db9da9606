"""The disk floor: room that results leave to everybody else on the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lineside.pipelines.events import Level
from lineside.pipelines.sinks.disk import Disk
from lineside.runtime.errors import SinkError

__all__ = ["Floor", "Tell"]

Tell = Callable[[Level, str, str], None]
"""Tells the bus what happened to a sink: level, kind, message."""

_MARGIN = 1.05
"""Room, in floors, from which on writing goes on: with less, a disk at its floor would open and close the sink by turns."""


class Floor:
    """Whether there is room for more. Below the floor a sink stops writing, and goes on by itself when there is room.

    Args:
        folder: A folder on the file system in question; it exists when `check` is called.
        size: Bytes that stay free; 0 for no floor.
        disk: Says how much room there is.
        tell: Told ``disk floor`` when writing stops and ``disk room`` when it goes on.
    """

    def __init__(self, folder: Path, size: int, disk: Disk, tell: Tell) -> None:
        self._folder = folder
        self._size = size
        self._disk = disk
        self._tell = tell
        self._below = False

    def check(self) -> None:
        """Returns where there is room.

        Raises:
            SinkError: There is not.
        """
        if not self._size:
            return
        try:
            room = self._disk.room(self._folder)
        except OSError:  # Where the folder is gone, whoever writes to it finds out and says so.
            return
        below = room < self._size * (_MARGIN if self._below else 1)
        if below:
            message = (
                f"only {room / 1e6:.0f} MB are free for {self._folder}, and {self._size / 1e6:.0f} MB are to stay free "
                "(floor): nothing is written there until there is room; free some space, or keep less"
            )
            if not self._below:
                self._tell("error", "disk floor", message)
            self._below = True
            raise SinkError(message)
        if self._below:
            self._tell("info", "disk room", f"{room / 1e6:.0f} MB are free for {self._folder}: writing goes on")
            self._below = False
