"""The way of one source's pictures into an encoder: size, rows, times."""

from __future__ import annotations

import numpy as np

from lineside.pipelines.frame import Pixels
from lineside.pipelines.gst.library import NONE, library
from lineside.pipelines.gst.structs import Buffer
from lineside.pipelines.overlay import fit

__all__ = ["Feed", "even_size"]

_RATES = 1, 240
"""Least and largest number of frames per second that an encoder is told."""
_STEP = 1_000_000
"""Least time from one picture to the next, ns."""
_SLACK = 1.0
"""Seconds that a picture may have been drawn for since its time was taken; a wait of that length does no harm."""
_SMALLEST = 32
"""Pixels of the shortest side that every encoder takes."""


class Feed:
    """Gives pictures to an appsrc, all in one size.

    Others are fitted into it: hardly any player survives a change, and some encoders do not either.

    Args:
        source: The appsrc; the reference belongs to this object.
        size: Height and width, both even.
        rate: Frames per second, about.
        now: Monotonic time in seconds at which it begins.

    Attributes:
        sent: Monotonic time in seconds at which it took a picture; minus infinity before the first.
    """

    def __init__(self, source: int, size: tuple[int, int], rate: float, now: float) -> None:
        self._gst = gst = library()
        self._source = source
        self._size = size
        self._rows: Pixels = np.empty((0, 0), np.uint8)
        self._began = now
        self._pts = 0
        self.sent = float("-inf")
        caps = gst.gst_caps_from_string(
            f"video/x-raw,format=BGR,width={size[1]},height={size[0]},"
            f"framerate={min(max(round(rate), _RATES[0]), _RATES[1])}/1".encode()
        )
        gst.gst_app_src_set_caps(source, caps)
        gst.gst_mini_object_unref(caps)

    def give(self, picture: Pixels, now: float) -> bool:
        """Gives a picture. Never waits: of three that wait for the encoder, the oldest goes.

        Args:
            picture: ``(H, W, 3)`` uint8 BGR.
            now: Monotonic time in seconds.

        Returns:
            Whether it was taken: not before the pipeline is started, and not when it has ended.
        """
        gst, rows = self._gst, self._in_rows(picture)
        buffer = gst.gst_buffer_new_allocate(None, rows.nbytes, None)
        if not buffer:
            return False
        gst.gst_buffer_fill(buffer, 0, rows.ctypes.data, rows.nbytes)
        Buffer.from_address(buffer).pts = self._time(now)
        taken = bool(
            gst.gst_app_src_push_buffer(self._source, buffer) == 0
        )  # the buffer is the source's now, taken or not
        if taken:
            self.sent = now
        return taken

    def ask(self) -> None:
        """Asks the encoder to make the next picture one that a player can begin with."""
        event = self._gst.gst_video_event_new_downstream_force_key_unit(NONE, NONE, NONE, 1, 0)
        self._gst.gst_element_send_event(self._source, event)

    def close(self) -> None:
        """Gives the appsrc back."""
        self._gst.gst_object_unref(self._source)

    def _time(self, now: float) -> int:
        """Time of the next picture in the pipeline's own, in ns; later than that of the one before.

        A pipeline that is just being started may name the time since the computer's start, for which whoever sends the
        packets would wait; no showing is older than the time since it began. And when the first client plays, the server
        sets its pipeline's time back, which no encoder understands.
        """
        running = self._gst.gst_element_get_current_running_time(self._source)
        sound = running <= (now - self._began + _SLACK) * 1e9
        self._pts = max(int(running) if sound else 0, self._pts + _STEP)
        return self._pts

    def _in_rows(self, picture: Pixels) -> Pixels:
        """A picture in the size of this feed, its rows as GStreamer has them: a multiple of four bytes long."""
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
