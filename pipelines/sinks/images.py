"""``images/``: every frame with what was found drawn onto it."""

from __future__ import annotations

from pathlib import Path

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.names import shortened
from lineside.pipelines.overlay import Overlay
from lineside.pipelines.sinks.part import replace_bytes
from lineside.pipelines.sources.opencv import opencv
from lineside.runtime.errors import SinkError

__all__ = ["Images"]

_QUALITY = 90


class Images:
    """Writes a JPEG per frame, ``000017_NAME.jpg`` after its number and its file.

    Args:
        path: Name of the folder.
    """

    name = "images"
    takes_failed = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._overlay: Overlay | None = None

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        self._overlay = Overlay()
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot write to {self._path}: {error.strerror}; name another place with --out") from error

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        assert self._overlay is not None and frame.pixels is not None
        cv2 = opencv()
        picture = self._overlay.draw(frame.pixels, frame.detections)
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        stem = f"_{shortened(Path(frame.name).stem)}" if frame.name else ""
        replace_bytes(self._path / f"{frame.sequence:06d}{stem}.jpg", data.tobytes())

    def close(self) -> None:
        """See `Sink.close`."""
