"""Records a session: every frame as it came, with its times and what travelled with it, for `replay`."""

from __future__ import annotations

import threading
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from lineside.pipelines.catalog import Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.names import printable
from lineside.pipelines.sessions import INDEX, Recorded, content, index_of, read_index, stacked, whole_index
from lineside.pipelines.sinks.floor import Floor
from lineside.pipelines.sinks.folders import DatedFolders
from lineside.pipelines.sinks.lasting import Dated, Rules
from lineside.pipelines.sinks.mend import mend
from lineside.pipelines.sinks.naming import PART
from lineside.pipelines.sinks.pictures import PictureFiles, mend_pictures
from lineside.pipelines.sinks.segments import Segments
from lineside.pipelines.sinks.syncer import Syncer
from lineside.pipelines.sinks.world import World, world_of
from lineside.pipelines.sources.opencv import opencv
from lineside.runtime.errors import SinkError

__all__ = ["Record", "Session", "make"]


class Session(Dated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every frame, without loss, with its own times: what `replay` plays again.

    Attributes:
        path: The folder; frames lie in it in folders by UTC time.
        compression: How hard the PNG encoder tries, 0 (fast, large) to 9.
    """

    path: str = "session"
    rotate: str = "10m"
    compression: int = 1


def make(options: Session, place: Place) -> Record:
    """Makes the sink of a station."""
    rules = options.rules()
    path = place.path(options.path)
    return Record(path, rules, compression=options.compression, world=world_of(place), name=place.name)


class Record:
    """Writes a recorded session, see `lineside.pipelines.sessions`.

    A line is only worth something with its picture, and carries that one's checksum: after a kill or a loss of power
    those frames are there whose line and picture both are. Frames that could not be read are recorded as such.

    Args:
        path: The folder.
        rules: When a new folder begins, retention, syncs, floor.
        compression: Of PNG, 0 to 9.
        world: What it has around it.
        name: Name of the sink.
    """

    takes_failed = True

    def __init__(
        self,
        path: Path,
        rules: Rules,
        *,
        compression: int = 1,
        world: World = World(),
        name: str = "",
    ) -> None:
        self.name = name or "record"
        self._compression = compression
        self._disk, self._tell, self._world = world.disk, world.tell, world
        self._folders = DatedFolders(path, rules, world)
        self._floor = Floor(path, rules.floor, world.disk, world.tell)
        self._pictures = PictureFiles(world.disk, world.tell)
        self._syncer = Syncer(rules.sync_s, self.sync, self.name)
        self._encoder = msgspec.json.Encoder()
        self._lock = threading.Lock()  # Of the index, which is another one after each stretch of time.
        self._index: Segments | None = None
        self._count = 0

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        opencv()
        try:
            for folder in self._folders.open():
                self._mend(folder)
        except BlockingIOError as error:
            raise SinkError(
                f"another process records to {self._folders.path} at this moment; name another path"
            ) from error
        except OSError as error:
            raise SinkError(f"cannot write to {self._folders.path}: {error.strerror}; name another path") from error

    def _mend(self, folder: Path) -> None:
        """Gives the files of a folder that somebody was cut off from their names, or removes them."""
        index = index_of(folder)
        if index is not None and index.name.endswith(PART):
            mended = mend(self._disk, index, lambda part: part.with_name(INDEX), whole_index)
            index = mended[0] if mended else None
            self._tell("warning", "mended", f"{printable(str(folder))} was left behind by a run that was cut off")
        if any(it.name.endswith(PART) for it in folder.iterdir()):
            lines = {line.picture: line for line in read_index(index)} if index is not None else {}

            def whole(part: Path) -> bool:
                line = lines.get(part.name[: -len(PART)])
                return line is not None and content(folder, line) is not None

            mend_pictures(self._disk, folder, whole)

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        self._floor.check()
        if self._index is None or self._folders.due:
            self._begin()
        assert self._index is not None
        line = _line(frame)
        if frame.pixels is not None:
            layout, picture = stacked(frame.pixels)
            data = self._encoded(picture)
            name = f"{self._count:07d}.png"
            self._count += 1
            self._pictures.write(self._folder / name, data)
            line |= {"picture": name, "bytes": len(data), "crc": zlib.crc32(data), **layout}
        self._index.write(self._encoder.encode(Recorded(**line)) + b"\n")
        self._syncer.touch()

    def _begin(self) -> None:
        """Ends a folder and begins the next."""
        self._end()
        try:
            self._folder = self._folders.current()
        except OSError as error:
            raise SinkError(f"cannot write to {self._folders.path}: {error.strerror}; free some space") from error
        index = Segments(self._folder / INDEX, Rules(), whole=whole_index, world=self._world).open()
        with self._lock:
            self._index, self._count = index, 0

    def _end(self) -> None:
        self._pictures.sync()
        with self._lock:
            index, self._index = self._index, None
        if index is not None:
            index.finish()

    def sync(self) -> None:
        """Forces what was written onto the disk, from any thread."""
        self._pictures.sync()
        with self._lock:
            if self._index is not None:
                self._index.sync()

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`. A recorded session is whole whatever is missing in it: its lines say what there is."""
        self._syncer.close()
        self._end()

    def _encoded(self, picture: npt.NDArray[np.uint8]) -> bytes:
        cv2 = opencv()
        written, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, self._compression])
        if not written:
            raise SinkError(f"OpenCV cannot write a picture of shape {picture.shape} as PNG")
        return bytes(data)


def _line(frame: Frame) -> dict[str, Any]:
    """What is known of a frame besides its pixels."""
    same = (
        "source",
        "sequence",
        "pts",
        "wall",
        "size",
        "trigger",
        "part",
        "encoder",
        "missed",
        "damage",
        "note",
        "error",
    )
    return {name: getattr(frame, name) for name in same} | {"file": frame.name}
