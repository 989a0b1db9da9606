"""``results.jsonl``: a line per frame."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.records import record
from lineside.pipelines.sinks.part import PartFile

__all__ = ["JsonLines"]


class JsonLines:
    """Writes `record` of every frame, failed ones too, as one JSON object per line.

    After a kill the lines so far are in ``results.jsonl.part``.

    Args:
        path: Name of the file.
    """

    name = "jsonl"
    takes_failed = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encoder = msgspec.json.Encoder()
        self._file: PartFile | None = None

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        self._file = PartFile(self._path)

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        assert self._file is not None
        self._file.write(self._encoder.encode(record(frame)) + b"\n")

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`."""
        if self._file is not None:
            self._file.finish(missing)
