"""``coco.json``: pictures, classes and results in the COCO layout, for annotation and evaluation tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.sinks.part import PartFile
from lineside.runtime.errors import SinkError

__all__ = ["Coco", "picture_of"]


class Coco:
    """Writes one JSON object with ``images``, ``categories`` and ``annotations``, each of these with its ``score``.

    ``pycocotools.COCO`` opens it, and ``loadRes`` takes its annotations. Boxes are xywh, masks run lengths. Nothing is collected in memory: annotations and pictures grow in two files that are joined at the end.

    Args:
        path: Name of the file.
    """

    name = "coco"
    takes_failed = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encoder = msgspec.json.Encoder()
        self._file: PartFile | None = None
        self._images: PartFile | None = None
        self._count = 0
        self._pictures = 0
        self._names: dict[int, str] = {}

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        self._file = PartFile(self._path)
        self._images = PartFile(self._path.with_name(f"{self._path.name}.images"))
        about = {"description": f"Results of Lineside on {stream.name}"}
        self._file.write(b'{"info":' + self._encoder.encode(about) + b',"annotations":[\n')

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        assert frame.detections is not None
        names = dict(enumerate(frame.detections.names))
        self.add(picture_of(frame, frame.sequence), frame.detections.to_coco(frame.sequence), names)

    def add(self, picture: Mapping[str, Any], found: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> None:
        """Takes one picture and what was found on it.

        Args:
            picture: An entry of ``images``.
            found: Its annotations, without their ``id``.
            names: Names of the classes.

        Raises:
            SinkError: The disk says no.
        """
        assert self._file is not None and self._images is not None
        self._names.update(names)
        results = enumerate(found, start=self._count + 1)
        lines = [self._encoder.encode({**result, "id": number, "iscrowd": 0}) for number, result in results]
        before = self._images.size
        self._images.write((b",\n" if self._pictures else b"") + self._encoder.encode(picture))
        if lines:
            try:
                self._file.write((b",\n" if self._count else b"") + b",\n".join(lines))
            except SinkError:
                self._images.take_back(before)  # A picture without its results would look like one without objects.
                raise
        # Only now: what a full disk refused leaves no comma behind.
        self._count += len(lines)
        self._pictures += 1

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`. Where the two files cannot be joined both stay, as ``.part``.

        Raises:
            SinkError: The disk says no.
        """
        if self._file is None or self._images is None:
            return
        self._images.leave()
        before = self._file.size
        try:
            self._join(self._file, self._images.part)
        except (OSError, SinkError) as error:
            self._file.take_back(before)
            self._file.leave()
            raise error if isinstance(error, SinkError) else SinkError(f"cannot write {self._path}: {error}") from error
        self._file.finish(missing)
        with suppress(OSError):
            self._images.part.unlink()

    def _join(self, file: PartFile, images: Path) -> None:
        """Writes what comes after the annotations."""
        categories = [{"id": number, "name": name} for number, name in sorted(self._names.items())]
        file.write(b'\n],"categories":' + self._encoder.encode(categories) + b',"images":[\n')
        with images.open("rb") as lines:
            while block := lines.read(1 << 20):
                file.write(block)
        file.write(b"\n]}\n")


def picture_of(frame: Frame, number: int) -> dict[str, Any]:
    """The entry of ``images`` for a frame.

    Args:
        frame: The frame.
        number: Its ``id``.
    """
    height, width = frame.size
    name = frame.name or f"{frame.source}#{frame.sequence}"
    return {"id": number, "file_name": name, "height": height, "width": width}
