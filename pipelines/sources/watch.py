"""The source ``watch``: pictures as they arrive in a folder, each once, when it is whole."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from lineside.pipelines.catalog import Options, Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.sources.find import PICTURES
from lineside.pipelines.sources.pictures import read_picture
from lineside.pipelines.units import parse_time
from lineside.runtime.errors import LinesideError, SourceError

__all__ = ["WatchFolder", "WatchedFolder", "make"]


class WatchedFolder(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A folder that another program puts pictures into.

    Attributes:
        path: The folder. It need not be there yet.
        first: Whether pictures that lie there already count.
        settle: A picture is whole when its size has not changed for so long; a program that writes under another name and
            renames needs none of this.
        after: What becomes of a picture that has been read: it stays, goes into the folder ``done`` beside it, or is removed.
        look: How often the folder is looked into.
    """

    path: Annotated[str, msgspec.Meta(min_length=1)]
    first: bool = True
    settle: str = "300ms"
    after: Literal["keep", "move", "delete"] = "keep"
    look: str = "100ms"

    def __post_init__(self) -> None:
        parse_time(self.settle)
        parse_time(self.look)


def make(options: WatchedFolder, place: Place) -> WatchFolder:
    """Makes the source."""
    return WatchFolder(place.path(options.path), options)


class WatchFolder:
    """Looks into a folder again and again; see `WatchedFolder`. It waits for the inspection: nothing is lost.

    Names are compared with those seen before, so that a picture which is written anew under an old name is inspected again.

    Args:
        folder: The folder.
        options: How it is watched.
    """

    def __init__(self, folder: Path, options: WatchedFolder) -> None:
        self._folder = folder
        self._options = options
        self._settle = parse_time(options.settle)
        self._look = parse_time(options.look) / 1e9
        self._stop = threading.Event()
        self._seen: dict[str, tuple[int, int]] = {}
        self._growing: dict[str, tuple[tuple[int, int], int]] = {}

    def open(self) -> StreamInfo:
        """See `Source.open`.

        Raises:
            SourceError: The path is no folder.
        """
        if self._folder.exists() and not self._folder.is_dir():
            raise SourceError(f"{self._folder} is a file; give the path of a folder to watch")
        if not self._options.first:
            self._seen = dict(self._inside())
        return StreamInfo(str(self._folder), "pictures")

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`; ends only when it is asked to."""
        begin = time.monotonic_ns()
        while not self._stop.is_set():
            ready = self._ready()
            for name in ready:
                if self._stop.is_set():
                    return
                yield self._frame(name, begin)
                self._put_away(name)
            if not ready:
                self._stop.wait(self._look)

    def _inside(self) -> dict[str, tuple[int, int]]:
        """Pictures in the folder, with their size and time of change."""
        found = {}
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if Path(entry.name).suffix.lower() in PICTURES and not entry.name.startswith("."):
                    with suppress(OSError):
                        if entry.is_file():
                            facts = entry.stat()
                            found[entry.name] = (facts.st_size, facts.st_mtime_ns)
        return found

    def _ready(self) -> list[str]:
        """New pictures that do not grow any more, the oldest first."""
        inside, now = self._inside(), time.monotonic_ns()
        self._seen = {name: facts for name, facts in self._seen.items() if name in inside}
        growing: dict[str, tuple[tuple[int, int], int]] = {}
        ready = []
        for name, facts in inside.items():
            if self._seen.get(name) == facts:
                continue
            before, since = self._growing.get(name, (None, now))
            growing[name] = (facts, since if before == facts else now)
            if now - growing[name][1] >= self._settle and facts[0]:
                ready.append(name)
        self._growing = growing
        for name in ready:
            self._seen[name] = growing.pop(name)[0]
        return sorted(ready, key=lambda name: (inside[name][1], name))

    def _frame(self, name: str, begin: int) -> Frame:
        """Reads one picture; one that cannot be read is a failed frame."""
        path, now = str(self._folder / name), time.monotonic_ns()
        pts = (now - begin) / 1e9
        try:
            return Frame(read_picture(path), source=str(self._folder), name=path, pts=pts, captured=now)
        except LinesideError as error:
            return Frame(None, source=str(self._folder), name=path, pts=pts, error=str(error), captured=now)

    def _put_away(self, name: str) -> None:
        """Does with a picture that was handed on what was asked for."""
        path = self._folder / name
        with suppress(OSError):  # gone already, or not ours to move: it is not inspected twice all the same
            if self._options.after == "delete":
                path.unlink()
            elif self._options.after == "move":
                done = self._folder / "done"
                done.mkdir(exist_ok=True)
                os.replace(path, done / name)

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()

    def close(self) -> None:
        """See `Source.close`."""
