"""The pictures of one source for those who watch; next to nothing is done while nobody does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lineside.pipelines.frame import Frame, Pixels
from lineside.pipelines.gst.rtsp.feed import Feed, even_size
from lineside.pipelines.overlay import Overlay

__all__ = ["Showing"]

_AGAIN = 1.0
"""Seconds: so often at least a watcher gets a picture, a player that joins in can begin, and the newest picture is kept
ready for whoever comes next."""
_OLD = 2.0
"""Seconds from which on a picture says how old it is, unless its source is as slow as that by itself."""
_SMOOTH = 0.2
"""Weight of the newest distance between two pictures in the usual one."""
_RATE = 25.0
"""Frames per second of a source of which only one picture has come so far."""


class Showing:
    """Keeps the newest picture, and hands each one on while somebody watches.

    Who comes while others watch sees the size that they see, see `Feed`; who comes when nobody does gets that of the newest
    picture.

    Args:
        fps: Most pictures per second; 0 for all.
        width: Wider pictures are made smaller; pixels.
        draw: Whether to draw what was found.
        now: Monotonic clock in seconds.

    Attributes:
        given: Pictures that went to an encoder.
        begun: How often somebody began to watch while nobody did.
    """

    def __init__(
        self, *, fps: float = 0.0, width: int = 1920, draw: bool = True, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._gap = 1.0 / fps if fps else 0.0
        self._widest = width
        self._draw = draw
        self._now = now
        self._lock = threading.Lock()
        self._overlay, self._note = Overlay(), Overlay()
        self._last: Pixels | None = None  # drawn; lives in the first overlay's canvas
        self._distance = 0.0
        self._came: float | None = None
        self._drawn = self._due = self._asked = float("-inf")
        self._feeds: dict[int, Feed] = {}
        self.given = 0
        self.begun = 0

    @property
    def watched(self) -> bool:
        """Whether somebody watches."""
        return bool(self._feeds)

    def show(self, frame: Frame) -> None:
        """Takes a frame of the source, and draws it where it is watched, or where the one that is kept is a second old."""
        now = self._now()
        with self._lock:
            self._pace(now)
            if now < (self._due if self._feeds else self._drawn + _AGAIN):
                return
            self._due = max(self._due, now - self._gap) + self._gap
            banner = "LATE" if frame.outcome == "late" else ""
            self._last = self._overlay.draw(frame.bgr(), frame.detections if self._draw else None, banner)
            self._drawn = now
            for feed in self._feeds.values():
                self.given += feed.give(self._last, now)

    def _pace(self, now: float) -> None:
        """Notes how far apart pictures come."""
        if self._came is not None:
            self._distance += (now - self._came - self._distance) * (_SMOOTH if self._distance else 1.0)
        self._came = now

    def look(self) -> None:
        """Sees to those who watch a source that gives nothing, and to those who joined in. To be called all the time."""
        with self._lock:
            if not self._feeds or self._last is None:
                return
            now = self._now()
            if now - self._asked >= _AGAIN:
                self._asked = now
                for feed in self._feeds.values():
                    feed.ask()
            waiting = [feed for feed in self._feeds.values() if now - feed.sent >= _AGAIN]
            if not waiting:
                return
            age = now - self._drawn
            old = age >= max(_OLD, 3 * self._distance)
            shown = self._note.draw(self._last, None, f"last picture {age:.0f} s ago") if old else self._last
            for feed in waiting:
                self.given += feed.give(shown, now)

    def begin(self, media: int, source: int) -> None:
        """See `Shown.begin`. Where one showing has just ended, its successor may begin before its pipeline is down."""
        with self._lock:
            assert self._last is not None, "a source is shown from its first picture on"
            most = 1 / self._gap if self._gap else float("inf")
            rate = min(1 / self._distance if self._distance else _RATE, most)
            now = self._now()
            self._feeds[media] = Feed(source, even_size(self._last.shape[:2], self._widest), rate, now)
            self._due = self._asked = float("-inf")
            self.begun += 1

    def end(self, media: int) -> None:
        """See `Shown.end`."""
        with self._lock:
            feed = self._feeds.pop(media, None)
        if feed is not None:
            feed.close()
