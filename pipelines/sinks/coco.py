"""``coco.json``: pictures, classes and results in the COCO layout, for annotation and evaluation tools."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.sinks.part import PartFile
from lineside.runtime.errors import SinkError

__all__ = ["Coco"]


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
        self._images_path = path.with_name(f"{path.name}.images")
        self._encoder = msgspec.json.Encoder()
        self._file: PartFile | None = None
        self._images: PartFile | None = None
        self._count = 0
        self._pictures = 0
        self._names: dict[int, str] = {}

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        self._file = PartFile(self._path)
        self._images = PartFile(self._images_path)
        about = {"description": f"Results of Lineside on {stream.name}"}
        self._file.write(b'{"info":' + self._encoder.encode(about) + b',"annotations":[\n')

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        assert self._file is not None and self._images is not None and frame.detections is not None
        height, width = frame.size
        name = frame.name or f"{frame.source}#{frame.sequence}"
        picture = {"id": frame.sequence, "file_name": name, "height": height, "width": width}
        self._names.update(enumerate(frame.detections.names))
        results = enumerate(frame.detections.to_coco(frame.sequence), start=self._count + 1)
        lines = [self._encoder.encode({**result, "id": number, "iscrowd": 0}) for number, result in results]
        if lines:
            self._file.write((b",\n" if self._count else b"") + b",\n".join(lines))
            self._count += len(lines)  # Only now: what a full disk refused leaves no comma behind.
        self._images.write((b",\n" if self._pictures else b"") + self._encoder.encode(picture))
        self._pictures += 1

    def close(self) -> None:
        """See `Sink.close`.

        Raises:
            SinkError: The disk says no.
        """
        if self._file is None or self._images is None:
            return
        categories = [{"id": number, "name": name} for number, name in sorted(self._names.items())]
        self._file.write(b'\n],"categories":' + self._encoder.encode(categories) + b',"images":[\n')
        self._images.commit()
        try:
            with self._images_path.open("rb") as images:
                while block := images.read(1 << 20):
                    self._file.write(block)
            os.unlink(self._images_path)
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}") from error
        self._file.write(b"\n]}\n")
        self._file.commit()
