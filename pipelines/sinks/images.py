"""``images/``: every frame with what was found drawn onto it."""

from __future__ import annotations

import os
from pathlib import Path

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame, Pixels
from lineside.pipelines.names import shortened
from lineside.pipelines.overlay import Overlay
from lineside.pipelines.sinks.part import part_name, replace_bytes
from lineside.pipelines.sources.opencv import opencv
from lineside.runtime.errors import SinkError

__all__ = ["Images", "encoded"]

_QUALITY = 90
_LONGEST = 65500
"""Longest side of a JPEG in pixels, by libjpeg's word."""


class Images:
    """Writes a JPEG per frame, ``000017_NAME.jpg`` after its number and its file; a PNG where it is too long for one.

    The folder is called ``images.part`` until every frame is in it.

    Args:
        path: Name of the folder.
    """

    name = "images"
    takes_failed = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = part_name(path)
        self._overlay: Overlay | None = None

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`."""
        self._overlay = Overlay()
        try:
            self._part.mkdir(parents=True)
        except OSError as error:
            raise SinkError(f"cannot write to {self._path}: {error.strerror}; name another place with --out") from error

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        assert self._overlay is not None and frame.pixels is not None
        ending, data = encoded(self._overlay.draw(frame.bgr(), frame.detections))
        stem = f"_{shortened(Path(frame.name).stem)}" if frame.name else ""
        replace_bytes(self._part / f"{frame.sequence:06d}{stem}{ending}", data)

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`.

        Raises:
            SinkError: The disk says no.
        """
        if missing or self._overlay is None:
            return
        try:
            os.rename(self._part, self._path)
        except OSError as error:
            raise SinkError(f"cannot name {self._part} {self._path.name}: {error.strerror}") from error


def encoded(picture: Pixels) -> tuple[str, bytes]:
    """A picture as a JPEG, or as a PNG where a side is too long for one.

    Args:
        picture: ``(H, W, 3)`` uint8 BGR.

    Returns:
        Ending of the file's name, and its content.

    Raises:
        SinkError: OpenCV cannot write it.
    """
    cv2 = opencv()
    ending, options = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]) if max(picture.shape) <= _LONGEST else (".png", [])
    written, data = cv2.imencode(ending, picture, options)
    if not written:
        raise SinkError(f"OpenCV cannot write a picture of shape {picture.shape} as {ending}")
    return ending, data.tobytes()
