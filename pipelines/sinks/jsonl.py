"""``results.jsonl``: a line per frame, and where that is wanted a second file with a line per event."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Event
from lineside.pipelines.frame import Frame
from lineside.pipelines.records import record
from lineside.pipelines.sinks.events import EventLines
from lineside.pipelines.sinks.growing import RecordFile
from lineside.pipelines.sinks.lasting import Lasting
from lineside.pipelines.sinks.part import PartFile
from lineside.pipelines.sinks.segments import Segments
from lineside.pipelines.sinks.whole import whole_lines
from lineside.pipelines.sinks.world import world_of
from lineside.runtime.errors import BadOption

if TYPE_CHECKING:
    from lineside.pipelines.facts import Facts

__all__ = ["EventfulLines", "JsonLines", "JsonLinesFile", "make"]


class JsonLinesFile(Lasting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON object per frame, one on each line; in a file of its own also one per event.

    Attributes:
        path: Name of the file.
        events: Name of a second file, with a line for each event of the station: states of the cameras, faults, what was
            lost and why. Segments, syncs, floor and retention are as for the first. Empty for none.
    """

    path: str = "results.jsonl"
    events: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.events and os.path.normpath(self.events) == os.path.normpath(self.path):
            raise BadOption(f"events={self.events} is the file of the results, too; give the events one of their own")


def make(options: JsonLinesFile, place: Place) -> JsonLines:
    """Makes the sink of a station."""
    path, world = place.path(options.path), world_of(place)
    segments = Segments(path, options.rules(), whole=whole_lines, world=world)
    if not options.events:
        return JsonLines(path, segments.open, place.name)
    beside = Segments(place.path(options.events), options.rules(), whole=whole_lines, world=world)
    return EventfulLines(path, segments.open, place.name, EventLines(beside, world.tell, place.name))


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


class EventfulLines(JsonLines):
    """The same, with the station's events in a second file: from before the first camera is opened to the very end.

    Args:
        path: As for `JsonLines`, and so are the next two.
        files: What is written to.
        name: Name of the sink.
        events: Writes the events.
    """

    def __init__(self, path: Path, files: Callable[[], RecordFile], name: str, events: EventLines) -> None:
        super().__init__(path, files, name)
        self._events = events

    def attend(self, facts: Facts) -> Callable[[], None]:
        """See `lineside.pipelines.facts.Attending`."""
        self._events.open()
        return self._events.close

    def hear(self, event: Event) -> None:
        """See `lineside.pipelines.facts.Hearing`."""
        self._events.hear(event)
