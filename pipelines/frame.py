"""The one object that travels through the graph: a picture, what is known about it, and its stage clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from lineside.pipelines.names import printable
from lineside.runtime.errors import BadFrame
from lineside.runtime.yuv import Picture, Yuv, picture_size

if TYPE_CHECKING:
    from lineside.pipelines.pool import BufferPool
    from lineside.runtime.detections import Detections

__all__ = ["CAPTURE", "DECIDED", "DONE", "READ", "TAKEN", "TRIGGER", "Frame", "Outcome", "Pixels"]

Pixels = npt.NDArray[np.uint8]
Outcome = Literal["inspected", "late", "dropped", "incomplete", "never inspected", "failed"]

TRIGGER = "trigger"
"""The moment the part was due, fixed in advance by a takt; missing where nothing triggers."""
CAPTURE = "capture"
"""The source began to read this picture (files), or the camera delivered it."""
READ = "read"
"""The pixels lie in memory."""
TAKEN = "taken"
"""A lane of the transform took the frame."""
DECIDED = "decided"
"""The result is known and handed to the sinks, in the order of capture."""
DONE = "done"
"""The last sink has written the frame."""

_SHARED = ("damage", "encoder", "error", "missed", "model", "name", "note", "part", "size", "source", "trigger", "wall")
"""What a fork of a frame has from it."""


class _Converted:
    """The pixels of a `Yuv`, made at the first call and shared by a frame and all its forks."""

    __slots__ = ("_lock", "_pixels", "_pool", "yuv")

    def __init__(self, yuv: Yuv, pool: BufferPool | None) -> None:
        self.yuv = yuv
        self._pool = pool
        self._pixels: Pixels | None = None
        self._lock = threading.Lock()  # not that of a frame, which the graph takes for every one

    def bgr(self) -> Pixels:
        """``(H, W, 3)`` uint8 BGR."""
        with self._lock:
            if self._pixels is None:
                out = None if self._pool is None else self._pool.take((*self.yuv.size, 3))
                self._pixels = self.yuv.to_bgr(out)
            return self._pixels

    def release(self) -> None:
        """Gives the pixels back, once nobody holds the picture any more."""
        with self._lock:
            pixels, self._pixels = self._pixels, None
        if self._pool is not None and pixels is not None:
            self._pool.give(pixels)


class Frame:
    """One picture on its way from a source to the last sink.

    A frame belongs to whoever works on it at the moment. Its pixels may live in a buffer that the source uses again:
    they are valid until `release` has been called as often as the frame is held, and whoever keeps a frame beyond
    the end of ``write`` calls `hold` first and `release` later.

    Args:
        pixels: See the attributes, as for the arguments that are not named here.
        captured: Monotonic time in ns at which the source began to read; `CAPTURE` is stamped with it and `READ` with
            the present. None leaves both to the caller.
        recycle: Gets the pixels back at the last `release`.
        pool: Lends `bgr` its pixels until the last `release`; without one they are allocated for each frame.

    Attributes:
        pixels: ``(H, W, 3)`` uint8 BGR, ``(H, W)`` uint8 grey, or a `Yuv` as decoders give them (see `bgr`); perhaps
            read-only. None for a picture that could not be read, and after the last release.
        sequence: Number of the frame in this run, from 0, given by the graph.
        source: Name of the source.
        model: Name of the model that looks at it; empty where none does.
        name: File that holds the picture; empty for a camera.
        pts: Presentation time in seconds since the start of its source.
        size: Height and width in pixels; ``(0, 0)`` for a picture that could not be read.
        clock: Stage clock: name of the stage to the monotonic time in ns at which it ended, in order.
        detections: What was found, once the transform is through.
        error: Why the frame failed; None for a good one.
        note: What is to be known about a frame although it could be inspected; None for most.
        outcome: How it ended; None while it is in flight.
        trigger: Number of the trigger that asked for it; None where nothing counts them.
        part: Identification of the part on it; None where there is none.
        encoder: Count of the line's encoder at the trigger; None where there is none.
        wall: Wall-clock time of its capture in seconds since 1970, for people and files; never used to measure.
        damage: Why it arrived incomplete, such as lost packets; such a frame is counted and not looked at.
        missed: Parts known to have passed unseen right before it.
    """

    __slots__ = (
        "_converted",
        "_forked",
        "_given",
        "_holders",
        "_lock",
        "_original",
        "_recycle",
        "_shown",
        "clock",
        "damage",
        "detections",
        "encoder",
        "error",
        "missed",
        "model",
        "name",
        "note",
        "outcome",
        "part",
        "pixels",
        "pts",
        "sequence",
        "size",
        "source",
        "trigger",
        "wall",
    )

    def __init__(
        self,
        pixels: Picture | None,
        *,
        source: str = "",
        name: str = "",
        pts: float = 0.0,
        error: str | None = None,
        note: str | None = None,
        captured: int | None = None,
        recycle: Callable[[Any], None] | None = None,
        pool: BufferPool | None = None,
    ) -> None:
        self.pixels = pixels
        self.sequence = -1
        self.source = printable(source)
        self.model = ""
        self.name = printable(name)
        self.pts = pts
        self.size: tuple[int, int] = (0, 0) if pixels is None else picture_size(pixels)
        self.clock: dict[str, int] = {}
        self.detections: Detections | None = None
        self.error = error if error is None else printable(error)
        self.note = note if note is None else printable(note)
        self.outcome: Outcome | None = None
        self.trigger: int | None = None
        self.part: str | None = None
        self.encoder: int | None = None
        self.wall = time.time()
        self.damage: str | None = None
        self.missed = 0
        self._original: Picture | None = None
        self._shown: list[Callable[[], None]] = []
        self._converted = _Converted(pixels, pool) if isinstance(pixels, Yuv) else None
        self._forked = False
        self._recycle = recycle
        self._holders = 1
        self._given = 0
        if captured is not None:
            self.clock[CAPTURE] = captured
            self.stamp(READ)
        self._lock = threading.Lock()

    def bgr(self) -> Pixels:
        """The picture as pixels, for those who draw, save or show it.

        A `Yuv` is converted at the first call; all that ask share the result, those who have a fork of the frame too. It is
        kept until the last release.

        Returns:
            ``(H, W, 3)`` uint8 BGR or ``(H, W)`` uint8 grey; not to be written to.

        Raises:
            BadFrame: The frame has no pixels, or none any more.
        """
        pixels = self.pixels
        if isinstance(pixels, np.ndarray):
            return pixels
        if not isinstance(pixels, Yuv):
            raise BadFrame("the frame has no pixels: it could not be read, or was given back already")
        converted = self._converted
        if converted is None or converted.yuv is not pixels:
            return pixels.to_bgr()  # put there by `show`, which is meant for pixels
        return converted.bgr()

    def show(self, pixels: Pixels, pool: BufferPool | None = None) -> None:
        """Puts another picture in the place of the frame's own: a part of it, or one drawn over.

        The buffer of the first one still goes back to its source at the last release.

        Args:
            pixels: ``(H, W, 3)`` uint8 BGR or ``(H, W)`` uint8 grey.
            pool: Gets them back at the last release; a fork of the frame holds it until then.
        """
        with self._lock:
            if pool is not None:
                self._shown.append(partial(pool.give, pixels))
            if self._original is None:
                self._original = self.pixels
            self.pixels = pixels
            self.size = picture_size(pixels)

    def stamp(self, stage: str, now: int | None = None) -> None:
        """Writes the end of a stage into the stage clock.

        Args:
            stage: Name of the stage that has just ended.
            now: Monotonic time in ns; read from the system when None.
        """
        self.clock[stage] = time.monotonic_ns() if now is None else now

    def between(self, start: str, end: str) -> int | None:
        """Time between two stamps in ns, or None where either is missing."""
        if start not in self.clock or end not in self.clock:
            return None
        return self.clock[end] - self.clock[start]

    @property
    def begin(self) -> int:
        """Monotonic time in ns from which the frame's age counts: its trigger, else its capture."""
        clock = self.clock
        return clock[TRIGGER] if TRIGGER in clock else clock.get(CAPTURE, 0)

    def give(self, sinks: int) -> None:
        """Notes that so many sinks now have the frame."""
        with self._lock:
            self._given += sinks

    def taken_back(self) -> bool:
        """One sink is through with the frame; True for the last one."""
        with self._lock:
            self._given -= 1
            return self._given == 0

    def fork(self) -> Frame:
        """The same picture for another way through the graph: own clock, results and outcome, the pixels shared."""
        self.hold()
        other = Frame(self.pixels, pts=self.pts, recycle=lambda pixels: self.release())
        other._converted, other._forked = self._converted, True
        for field in _SHARED:
            setattr(other, field, getattr(self, field))
        other.clock = dict(self.clock)
        if other.pixels is None:
            self.release()
        return other

    def hold(self, times: int = 1) -> None:
        """Keeps the pixels valid until as many further calls of `release`."""
        with self._lock:
            self._holders += times

    def release(self) -> None:
        """Gives up one hold; the last one hands the pixel buffer back to the source."""
        with self._lock:
            self._holders -= 1
            if self._holders:
                return
            pixels, self.pixels = self.pixels if self._original is None else self._original, None
            self._original = None
            shown, self._shown = self._shown, []
            # Forgotten also by who keeps the frame: its source may wait for the last view of the picture to go.
            converted, self._converted = self._converted, None
        if converted is not None and not self._forked:
            converted.release()
        for give_back in shown:
            give_back()
        if self._recycle is not None and pixels is not None:
            self._recycle(pixels)
