"""Elements of the soak's station: cameras, a step and a sink with moods.

A mood is a word in a file of the element's name, so that captures in processes of their own see it too; no file, no mood.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.runtime.errors import SourceError

CAMERA_MOODS = ("refuse", "die", "end", "freeze", "hang", "damage", "gap", "resize", "flood")
"""Does not open; fails; ends; gives nothing more; the same and deaf to a stop; pictures with holes, parts without one;
another size; all at once."""
STEP_MOODS = ("stumble",)
"""Fails on a frame now and then."""
SINK_MOODS = ("slow", "full", "stuck")
"""Takes its time; refuses; does not return."""

_LOOK = 0.02
"""Seconds between two looks at whether a mood has passed."""
_SIZES = {"": (120, 160), "resize": (90, 200)}


def mood_of(folder: str, name: str) -> str:
    """The mood that an element is in."""
    try:
        return (Path(folder) / name).read_text()
    except OSError:
        return ""


class Camera:
    """A live camera of the soak.

    Args:
        name: Its name.
        moods: Folder of the moods.
        fps: Frames per second.
    """

    live = True

    def __init__(self, name: str, moods: str, fps: float = 10.0) -> None:
        self._name, self._moods, self._fps = name, moods, fps
        self._stop = threading.Event()
        rng = np.random.default_rng(len(name))
        self._pictures = {mood: rng.integers(0, 256, (*size, 3), np.uint8) for mood, size in _SIZES.items()}

    def open(self) -> StreamInfo:
        """See `Source.open`.

        Raises:
            SourceError: It is in the mood for that.
        """
        if mood_of(self._moods, self._name) == "refuse":
            raise SourceError(f"{self._name} is held by another program; end that one")
        return StreamInfo(self._name, "camera", True, fps=self._fps)

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`.

        Raises:
            SourceError: It is in the mood for that.
        """
        begin, number, pause = time.monotonic_ns(), 0, 1 / self._fps
        while not self._stop.wait(pause):
            mood = mood_of(self._moods, self._name)
            pause = 0.001 if mood == "flood" else 1 / self._fps
            if mood == "die":
                raise SourceError(f"{self._name} does not answer any more; it was switched off or cut off")
            if mood == "end":
                return
            while mood == "hang" and mood_of(self._moods, self._name) == "hang":
                time.sleep(_LOOK)
            if mood not in ("freeze", "hang"):
                yield self._frame(number, mood, begin)
                number += 1

    def _frame(self, number: int, mood: str, begin: int) -> Frame:
        now = time.monotonic_ns()
        pixels = None if mood == "damage" else self._pictures["resize" if mood == "resize" else ""]
        frame = Frame(pixels, source=self._name, pts=(now - begin) / 1e9, captured=now)
        frame.trigger = number
        if mood == "damage":
            frame.damage = "3 packets are missing"
        if mood == "gap":
            frame.missed = 2
        return frame

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()


class Step:
    """A transform of the soak that fails on every third frame while it is in the mood.

    Args:
        name: Its name.
        moods: Folder of the moods.
    """

    def __init__(self, name: str, moods: str) -> None:
        self._name, self._moods = name, moods
        self._count = 0

    def __call__(self, frame: Frame) -> None:
        """See `Transform`.

        Raises:
            ValueError: It is in the mood for that.
        """
        self._count += 1
        if self._count % 3 == 0 and mood_of(self._moods, self._name) == "stumble":
            raise ValueError("this frame does not please")


class Sink:
    """A sink of the soak that keeps nothing.

    Args:
        name: Its name.
        moods: Folder of the moods.
    """

    takes_failed = True

    def __init__(self, name: str, moods: str) -> None:
        self._name, self._moods = name, moods

    def write(self, frame: Any) -> None:
        """See `Sink.write`.

        Raises:
            OSError: It is in the mood for that.
        """
        mood = mood_of(self._moods, self._name)
        if mood == "slow":
            time.sleep(0.2)
        if mood == "full":
            raise OSError(errno.ENOSPC, "no space left on device")
        while mood == "stuck" and mood_of(self._moods, self._name) == "stuck":
            time.sleep(_LOOK)
