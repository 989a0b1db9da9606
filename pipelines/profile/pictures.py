"""Pictures for a profile, decoded beforehand: a camera hands over pixels, not files."""

from __future__ import annotations

from collections.abc import Sequence

from lineside.pipelines.frame import Pixels
from lineside.pipelines.sources import make_source
from lineside.pipelines.sources.find import Found
from lineside.pipelines.sources.memory import Memory
from lineside.runtime.errors import SourceError

__all__ = ["preload"]

_MOST = 64
_MOST_BYTES = 512 << 20


def preload(found: Sequence[Found], title: str = "") -> tuple[list[Pixels], str]:
    """Reads the first pictures of a source into memory: at most 64, and at most 512 MiB.

    Args:
        found: See `find`.
        title: Name of it all, where one word stands for it.

    Returns:
        The pictures and the name of their source.

    Raises:
        SourceError: Not one picture could be read.
    """
    source = make_source(found, title)
    name = source.open().name
    most = 8 if isinstance(source, Memory) else _MOST
    pictures: list[Pixels] = []
    problem = ""
    try:
        for frame in source.frames():
            # Frames are never released here, so that no source writes into their pixels again.
            if frame.pixels is None:
                problem = problem or str(frame.error)
                continue
            pictures.append(frame.bgr())
            if len(pictures) == most or sum(it.nbytes for it in pictures) > _MOST_BYTES:
                break
    finally:
        source.stop()
        source.close()
    if not pictures:
        raise SourceError(f"no picture to profile with: {problem or name}")
    return pictures, name
