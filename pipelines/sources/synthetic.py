"""The source ``synthetic``: pictures at a pace of their own, as of a line that waits for nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

import msgspec

from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import Source, StreamInfo
from lineside.pipelines.frame import Frame, Pixels
from lineside.pipelines.sources.elements import Text, located
from lineside.pipelines.sources.live import Live
from lineside.pipelines.sources.memory import Memory, synthetic
from lineside.pipelines.sources.outside import Outside
from lineside.pipelines.sources.paced import Paced
from lineside.runtime.errors import SourceError

__all__ = ["Synthetic", "make"]

MOST_PICTURES = 64
"""So many pictures of a folder are kept in memory; a line that shows more of them begins again."""


class Synthetic(Live, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A camera that is none: noise of a fixed seed, or pictures of a folder in turn, at a fixed rate.

    Attributes:
        size: Width and height of the noise, as 1920x1080.
        fps: Frames per second; the k-th comes k / fps after the first, whoever is ready or not.
        path: Pictures to show instead of noise: a folder, a file or a pattern.
        seed: Seed of the noise.
        count: Number of frames; no end where it is not given.
        trigger: ``clock``: each at its time; ``outside``: each when a program asks for it, whatever `fps` says.
    """

    size: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")] = "640x480"
    fps: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 30.0
    path: Text | None = None
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    trigger: Literal["clock", "outside"] = "clock"

    def stream(self, name: str) -> StreamInfo:
        """See `Live.stream`; what the pictures of a folder are is not known before they are read."""
        rate = self.fps if self.trigger == "clock" else None
        width, height = map(int, self.size.split("x"))
        known = replace(super().stream(name), fps=rate)
        return known if self.path is not None else replace(known, size=(height, width), format="bgr")


def make(options: Synthetic, place: Place) -> Source:
    """Makes the source.

    Raises:
        SourceError: The pictures are not there, or there are too many pixels in the noise.
    """
    if options.path is not None:
        shown, names = _pictures(options.path, place)
        memory = Memory(shown, options.count, place.name, names)
    else:
        width, height = map(int, options.size.split("x"))
        if width * height > 200_000_000:
            raise SourceError(f"size={options.size} has more than 200 million pixels; name a size that a camera has")
        memory = synthetic((height, width), options.count, seed=options.seed, pictures=4)
    if options.trigger == "outside":
        return Outside(memory, place.name)
    return _Triggered(Paced(memory, round(1e9 / options.fps)), place.name)


class _Triggered:
    """Counts the triggers of a paced source."""

    def __init__(self, source: Paced, name: str) -> None:
        self._source = source
        self._name = name

    def open(self) -> StreamInfo:
        """See `Source.open`."""
        stream = self._source.open()
        return replace(stream, name=self._name or stream.name, kind="camera", live=True)

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`."""
        for number, frame in enumerate(self._source.frames()):
            frame.trigger = number
            yield frame

    def stop(self) -> None:
        """See `Source.stop`."""
        self._source.stop()

    def close(self) -> None:
        """See `Source.close`."""
        self._source.close()


def _pictures(path: str, place: Place) -> tuple[list[Pixels], list[str]]:
    """The first pictures of a place, and their names."""
    from lineside.pipelines.sources.find import find
    from lineside.pipelines.sources.pictures import read_picture

    files = [it.what for it in find([located(path, place.folder)]) if it.kind == "picture"][:MOST_PICTURES]
    return [read_picture(file) for file in files], files
