"""What a camera and a video file have in common."""

from __future__ import annotations

import threading
from typing import Any

from lineside.pipelines.frame import Pixels
from lineside.pipelines.pool import BufferPool

__all__ = ["Capture"]


class Capture:
    """Base of the sources that read through OpenCV's ``VideoCapture``, into buffers that are used again."""

    def __init__(self) -> None:
        self._capture: Any = None
        self._stop = threading.Event()
        self._pool = BufferPool()
        self._shape: tuple[int, ...] | None = None

    def _retrieve(self) -> Pixels | None:
        """Decodes the frame that was grabbed; None where that is not possible."""
        good, pixels = self._capture.retrieve(self._pool.take(self._shape) if self._shape else None)
        if not good:
            return None
        self._shape = pixels.shape
        return pixels  # type: ignore[no-any-return]

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()

    def close(self) -> None:
        """See `Source.close`. The buffers go as well: a folder of videos must not keep those of each."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
        self._pool = BufferPool()
