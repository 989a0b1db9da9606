"""The pictures of one source on their way to those who watch; next to nothing is done while nobody does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from lineside.pipelines.frame import Frame, Pixels
from lineside.pipelines.gst.library import NONE, library
from lineside.pipelines.gst.structs import Buffer
from lineside.pipelines.overlay import Overlay
from lineside.pipelines.sinks.video import fit

__all__ = ["Showing"]

_AGAIN = 1.0
"""Seconds: so often at least a watcher gets a picture, a player that joins in can begin, and the newest picture is kept
ready for whoever comes next."""
_OLD = 2.0
"""Seconds from which on a picture says how old it is, unless its source is as slow as that by itself."""
_SMOOTH = 0.2
"""Weight of the newest distance between two pictures in the usual one."""
_RATES = 1, 240
"""Least and largest number of frames per second that an encoder is told."""
_STEP = 1_000_000
"""Least time from one picture to the next, ns."""
_SMALLEST = 32
"""Pixels of the shortest side that every encoder takes."""


class Showing:
    """Keeps the newest picture, and hands each one on while somebody watches.

    All pictures have the size that the first had when somebody began to watch; others are fitted into it, because hardly
    any player survives a change. Who comes when nobody else watches gets the new size.

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
        self._gst = library()
        self._gap = 1.0 / fps if fps else 0.0
        self._widest = width
        self._draw = draw
        self._now = now
        self._lock = threading.Lock()
        self._overlay, self._note = Overlay(), Overlay()
        self._last: Pixels | None = None  # drawn; lives in the first overlay's canvas
        self._rows: Pixels = np.empty((0, 0), np.uint8)
        self._size = (0, 0)
        self._distance = 0.0
        self._came: float | None = None
        self._drawn = self._due = self._sent = self._asked = float("-inf")
        self._began = 0.0
        self._media = self._source = self._pts = 0
        self.given = 0
        self.begun = 0

    @property
    def watched(self) -> bool:
        """Whether somebody watches."""
        return self._media != 0

    def show(self, frame: Frame) -> None:
        """Takes a frame of the source, and draws it where it is watched, or where the one that is kept is a second old."""
        now = self._now()
        with self._lock:
            self._pace(now)
            if now < (self._due if self._media else self._drawn + _AGAIN):
                return
            self._due = max(self._due, now - self._gap) + self._gap
            banner = "LATE" if frame.outcome == "late" else ""
            self._last = self._overlay.draw(frame.bgr(), frame.detections if self._draw else None, banner)
            self._drawn = now
            if self._media:
                self._give(self._last, now)

    def _pace(self, now: float) -> None:
        """Notes how far apart pictures come."""
        if self._came is not None:
            self._distance += (now - self._came - self._distance) * (_SMOOTH if self._distance else 1.0)
        self._came = now

    def look(self) -> None:
        """Sees to those who watch a source that gives nothing, and to those who joined in. To be called all the time."""
        with self._lock:
            if not self._media or self._last is None:
                return
            now = self._now()
            if now - self._asked >= _AGAIN:
                self._asked = now
                event = self._gst.gst_video_event_new_downstream_force_key_unit(NONE, NONE, NONE, 1, 0)
                self._gst.gst_element_send_event(self._source, event)
            if now - self._sent >= _AGAIN:
                age = now - self._drawn
                old = age >= max(_OLD, 3 * self._distance)
                shown = self._note.draw(self._last, None, f"last picture {age:.0f} s ago") if old else self._last
                self._give(shown, now)

    def begin(self, media: int, source: int) -> None:
        """See `Shown.begin`."""
        with self._lock:
            if self._source:
                self._gst.gst_object_unref(self._source)
            self._media, self._source, self._pts, self._began = media, source, 0, self._now()
            self._due = self._sent = self._asked = float("-inf")
            self.begun += 1
            assert self._last is not None, "a source is shown from its first picture on"
            self._size = even_size(self._last.shape[:2], self._widest)
            rate = min(1 / self._distance if self._distance else 25.0, 1 / self._gap if self._gap else _RATES[1])
            caps = self._gst.gst_caps_from_string(
                f"video/x-raw,format=BGR,width={self._size[1]},height={self._size[0]},"
                f"framerate={min(max(round(rate), _RATES[0]), _RATES[1])}/1".encode()
            )
            self._gst.gst_app_src_set_caps(source, caps)
            self._gst.gst_mini_object_unref(caps)

    def end(self, media: int) -> None:
        """See `Shown.end`."""
        with self._lock:
            if media == self._media:
                self._gst.gst_object_unref(self._source)
                self._media = self._source = 0

    def _give(self, picture: Pixels, now: float) -> None:
        """Hands a picture to the encoder. Never waits: of three that wait there, the oldest goes."""
        gst, rows = self._gst, self._in_rows(picture)
        buffer = gst.gst_buffer_new_allocate(None, rows.nbytes, None)
        if not buffer:
            return
        gst.gst_buffer_fill(buffer, 0, rows.ctypes.data, rows.nbytes)
        Buffer.from_address(buffer).pts = self._time(now)
        if gst.gst_app_src_push_buffer(self._source, buffer) == 0:  # which takes the buffer; else it is not started yet
            self._sent = now
            self.given += 1

    def _time(self, now: float) -> int:
        """Time of the next picture in the pipeline's own, in ns; later than that of the one before.

        A pipeline that is just being started may name the time since the computer's start, for which whoever sends the
        packets would wait; no showing is older than the time since it began. And when the first client plays, the server
        sets its pipeline's time back, which no encoder understands.
        """
        running = self._gst.gst_element_get_current_running_time(self._source)
        sound = running <= (now - self._began) * 1e9
        self._pts = max(int(running) if sound else 0, self._pts + _STEP)
        return self._pts

    def _in_rows(self, picture: Pixels) -> Pixels:
        """A picture in the size of this showing, its rows as GStreamer has them: a multiple of four bytes long."""
        height, width = self._size
        if picture.shape[0] not in (height, height - 1) or picture.shape[1] not in (width, width - 1):
            picture = fit(picture, self._size)
        length = -(-3 * width // 4) * 4
        if picture.shape[:2] == self._size and length == 3 * width:
            return np.ascontiguousarray(picture)
        if self._rows.shape != (height, length):
            self._rows = np.zeros((height, length), np.uint8)
        whole = self._rows[:, : 3 * width].reshape(height, width, 3)
        whole[: picture.shape[0], : picture.shape[1]] = picture
        whole[picture.shape[0] :] = whole[picture.shape[0] - 1]
        whole[:, picture.shape[1] :] = whole[:, picture.shape[1] - 1 : picture.shape[1]]
        return self._rows


def even_size(size: tuple[int, ...], widest: int) -> tuple[int, int]:
    """Size in which pictures are shown: both sides even, as 4:2:0 wants them, and no wider than allowed.

    Args:
        size: Height and width of a picture, pixels.
        widest: Largest width, pixels.

    Returns:
        Height and width.
    """
    scale = min(1.0, widest / size[1])
    if scale < 1.0:
        size = (max(1, round(size[0] * scale)), widest)
    height, width = (max(_SMALLEST, side + side % 2) for side in size)
    return height, width
