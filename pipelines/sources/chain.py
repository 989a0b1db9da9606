"""Several sources one after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from lineside.pipelines.elements import Source, StreamInfo
from lineside.pipelines.frame import Frame
from lineside.runtime.errors import SourceError

__all__ = ["Chain"]


class Chain:
    """Reads finite sources in turn. One that cannot be opened, or ends in an error, costs one failed frame.

    Args:
        sources: Name and source of each part.
    """

    def __init__(self, sources: Sequence[tuple[str, Source]]) -> None:
        self._sources = list(sources)
        self._stop = threading.Event()

    def open(self) -> StreamInfo:
        """See `Source.open`. The parts are opened when their turn comes."""
        return StreamInfo(f"{len(self._sources)} sources", "mixed")

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`."""
        for name, source in self._sources:
            if self._stop.is_set():
                return
            try:
                source.open()
                yield from source.frames()
            except SourceError as error:
                yield Frame(None, source=name, name=name, error=str(error), captured=time.monotonic_ns())
            finally:
                source.close()

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()
        for _, source in self._sources:
            source.stop()

    def close(self) -> None:
        """See `Source.close`."""
        for _, source in self._sources:
            source.close()
