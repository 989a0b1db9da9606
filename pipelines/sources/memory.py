"""Frames that already lie in memory: benchmarks, tests, profiles."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

from lineside.pipelines.elements import StreamInfo, format_of
from lineside.pipelines.frame import Frame
from lineside.runtime.errors import SourceError
from lineside.runtime.yuv import Picture, picture_size

__all__ = ["Memory", "synthetic"]


class Memory:
    """Hands out pictures in turn, round and round, without copying them.

    Args:
        pictures: What `Frame.pixels` takes; nobody may change them meanwhile.
        count: Number of frames; None for no end.
        name: Name for tables and events.
        names: Name of each picture.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        count: int | None = None,
        name: str = "memory",
        names: Sequence[str] | None = None,
    ) -> None:
        self._pictures = list(pictures)
        self._count = count
        self._name = name
        self._names = list(names or [""] * len(self._pictures))
        self._stop = threading.Event()

    def open(self) -> StreamInfo:
        """See `Source.open`.

        Raises:
            SourceError: There is no picture.
        """
        if not self._pictures:
            raise SourceError("no picture in memory to hand out")
        sizes, formats = {picture_size(it) for it in self._pictures}, {format_of(it) for it in self._pictures}
        return StreamInfo(
            self._name, "memory", frames=self._count,
            size=sizes.pop() if len(sizes) == 1 else None, format=formats.pop() if len(formats) == 1 else None,
        )  # fmt: skip

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`."""
        number = 0
        while not self._stop.is_set() and number != self._count:
            place = number % len(self._pictures)
            number += 1
            yield Frame(self._pictures[place], source=self._name, name=self._names[place], captured=time.monotonic_ns())

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()

    def close(self) -> None:
        """See `Source.close`."""


def synthetic(size: tuple[int, int], count: int | None = None, *, seed: int = 0, pictures: int = 8) -> Memory:
    """Noise of a fixed seed.

    Args:
        size: Height and width in pixels.
        count: Number of frames; None for no end.
        seed: Seed of the noise.
        pictures: How many different ones.
    """
    rng = np.random.default_rng(seed)
    noise = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(pictures)]
    return Memory(noise, count, name=f"synthetic {size[1]}x{size[0]}")
