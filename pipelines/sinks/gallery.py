"""Pictures of what was found, for months: all of them or a sample, in folders by time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.names import shortened
from lineside.pipelines.overlay import Overlay
from lineside.pipelines.sinks.floor import Floor
from lineside.pipelines.sinks.folders import DatedFolders
from lineside.pipelines.sinks.images import encoded
from lineside.pipelines.sinks.lasting import Dated, Rules
from lineside.pipelines.sinks.naming import stamp
from lineside.pipelines.sinks.pictures import PictureFiles, mend_pictures, whole_picture
from lineside.pipelines.sinks.syncer import Syncer
from lineside.pipelines.sinks.world import World, world_of
from lineside.runtime.errors import SinkError

__all__ = ["Choice", "Gallery", "GalleryFolder", "make"]

Share = Annotated[int, msgspec.Meta(ge=1)]


class GalleryFolder(Dated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pictures with what was found drawn onto them.

    Attributes:
        path: The folder; pictures lie in it in folders by UTC time.
        only: ``found`` leaves out pictures without a detection.
        nth: Of those, one in so many is written.
        per_minute: At most so many a minute are written; 0 for any number.
        draw: Whether to draw what was found; without it the picture is written as it came.
    """

    path: str = "images"
    only: Literal["all", "found"] = "all"
    nth: Share = 1
    per_minute: Annotated[int, msgspec.Meta(ge=0)] = 0
    draw: bool = True


def make(options: GalleryFolder, place: Place) -> Gallery:
    """Makes the sink of a station."""
    choice = Choice(found=options.only == "found", nth=options.nth, per_minute=options.per_minute)
    return Gallery(
        place.path(options.path), options.rules(), choice, draw=options.draw, world=world_of(place), name=place.name
    )


class Choice:
    """Which frames are written; each rule is asked about what the ones before it let through.

    Args:
        found: Only those with a detection.
        nth: The first of each so many.
        per_minute: The first so many of each minute of wall-clock time; 0 for all.
    """

    def __init__(self, *, found: bool = False, nth: int = 1, per_minute: int = 0) -> None:
        self._found = found
        self._nth = nth
        self._per_minute = per_minute
        self._seen = 0
        self._minute = (0, 0)

    def __call__(self, frame: Frame) -> bool:
        """Whether this one is written."""
        if self._found and not (frame.detections is not None and len(frame.detections)):
            return False
        self._seen += 1
        if (self._seen - 1) % self._nth:
            return False
        if self._per_minute:
            minute = int(frame.wall // 60)
            count = self._minute[1] + 1 if self._minute[0] == minute else 1
            if count > self._per_minute:
                return False
            self._minute = (minute, count)
        return True


class Gallery:
    """Writes ``20261122T140000Z/20261122T143005.250Z_top_000017.jpg``: UTC time of capture, source and number.

    A picture has its name once it lies on the disk, and ``….part`` for the time of a sync before.

    Args:
        path: The folder.
        rules: When a new folder begins, retention, syncs, floor.
        choice: Which frames are written.
        draw: Whether to draw what was found.
        world: What it has around it.
        name: Name of the sink.
    """

    takes_failed = False

    def __init__(
        self,
        path: Path,
        rules: Rules,
        choice: Choice,
        *,
        draw: bool = True,
        world: World = World(),
        name: str = "",
    ) -> None:
        self.name = name or "images"
        self._choice = choice
        self._draw = draw
        self._disk, self._tell = world.disk, world.tell
        self._folders = DatedFolders(path, rules, world)
        self._files = PictureFiles(world.disk, world.tell)
        self._floor = Floor(path, rules.floor, world.disk, world.tell)
        self._syncer = Syncer(rules.sync_s, self.sync, self.name)
        self._overlay: Overlay | None = None

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        self._overlay = Overlay()
        removed = 0
        try:
            for folder in self._folders.open():
                removed += mend_pictures(self._disk, folder, lambda part: whole_picture(part.read_bytes()))
        except OSError as error:
            raise SinkError(f"cannot write to {self._folders.path}: {error.strerror}; name another place") from error
        if removed:
            self._tell("warning", "mended", f"{removed} pictures in {self._folders.path} had been cut off: removed")

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        assert self._overlay is not None and frame.pixels is not None
        if not self._choice(frame):
            return
        self._floor.check()
        picture = self._overlay.draw(frame.bgr(), frame.detections if self._draw else None)
        ending, data = encoded(picture)
        if self._folders.due:
            self._files.sync()  # What ends is measured and perhaps removed: nobody may be at it any more.
        try:
            folder = self._folders.current()
        except OSError as error:
            raise SinkError(f"cannot write to {self._folders.path}: {error.strerror}; free some space") from error
        source = shortened(frame.source.replace("/", "_"), 100)
        moment = f"{stamp(frame.wall)[:-1]}.{int(frame.wall % 1 * 1000):03d}Z"
        self._files.write(folder / f"{moment}_{source}_{frame.sequence:06d}{ending}", data)
        self._syncer.touch()

    def sync(self) -> None:
        """Forces what was written onto the disk, from any thread."""
        self._files.sync()

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`. Each picture is whole by itself, whatever is missing."""
        self._syncer.close()
        self.sync()
