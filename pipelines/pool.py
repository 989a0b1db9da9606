"""Frame buffers that are used again, so that a running source allocates nothing large."""

from __future__ import annotations

import threading

import numpy as np

from lineside.pipelines.frame import Pixels

__all__ = ["BufferPool"]


_MOST_FREE = 16
"""So many are kept for the next time: what a disk that stood still once had piled up is given back to the system."""


class BufferPool:
    """Lends arrays of one shape. As many exist as are lent, which the graph's queues bound, and a few more.

    A change of shape forgets the old buffers: those still lent are dropped when they come back.
    """

    def __init__(self) -> None:
        self._free: list[Pixels] = []
        self._shape: tuple[int, ...] = ()
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...]) -> Pixels:
        """Lends an array of uint8 with any content."""
        with self._lock:
            if shape != self._shape:
                self._free.clear()
                self._shape = shape
            if self._free:
                return self._free.pop()
        return np.empty(shape, np.uint8)

    def give(self, pixels: Pixels) -> None:
        """Takes an array back."""
        with self._lock:
            if pixels.shape == self._shape and len(self._free) < _MOST_FREE:
                self._free.append(pixels)
