"""``results.jsonl``: a line per frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.records import record
from lineside.pipelines.sinks.growing import RecordFile
from lineside.pipelines.sinks.lasting import Lasting
from lineside.pipelines.sinks.part import PartFile
from lineside.pipelines.sinks.segments import Segments
from lineside.pipelines.sinks.whole import whole_lines
from lineside.pipelines.sinks.world import world_of

__all__ = ["JsonLines", "JsonLinesFile", "make"]


class JsonLinesFile(Lasting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON object per frame, one on each line.

    Attributes:
        path: Name of the file.
    """

    path: str = "results.jsonl"


def make(options: JsonLinesFile, place: Place) -> JsonLines:
    """Makes the sink of a station."""
    path = place.path(options.path)
    segments = Segments(path, options.rules(), whole=whole_lines, world=world_of(place))
    return JsonLines(path, segments.open, place.name)


class JsonLines:
    """Writes `record` of every frame, failed ones too, as one JSON object per line.

    After a kill the lines so far are in ``results.jsonl.part``.

    Args:
        path: Name of the file.
        files: Opens what is written to, and adds to each line the wall-clock time of the capture and which model looked; None for one file,
            which has its name when it is complete.
        name: Name of the sink, where it is not ``jsonl``.
    """

    takes_failed = True

    def __init__(self, path: Path, files: Callable[[], RecordFile] | None = None, name: str = "") -> None:
        self.name = name or "jsonl"
        self._path = path
        self._open = files
        self._encoder = msgspec.json.Encoder()
        self._file: RecordFile | None = None

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        self._file = self._open() if self._open is not None else PartFile(self._path)

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        assert self._file is not None
        line = record(frame)
        if self._open is not None:
            line |= {"model": frame.model, "wall": round(frame.wall, 3)}
        self._file.write(self._encoder.encode(line) + b"\n")

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`."""
        if self._file is not None:
            self._file.finish(missing)
