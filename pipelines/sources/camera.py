"""A camera of the operating system, by its number, through OpenCV."""

from __future__ import annotations

import time
from collections.abc import Iterator

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.sources.capture import Capture
from lineside.pipelines.sources.opencv import opencv
from lineside.runtime.errors import SourceError

__all__ = ["Camera"]


class Camera(Capture):
    """A live camera. Frames carry the time since the first one.

    Args:
        index: Number of the camera, from 0.
    """

    def __init__(self, index: int) -> None:
        super().__init__()
        self._index = index
        self._name = f"camera {index}"

    def open(self) -> StreamInfo:
        """See `Source.open`.

        Raises:
            MissingPackage: OpenCV is not installed.
            SourceError: There is no such camera, or another program has it.
        """
        cv2 = opencv()
        self._capture = cv2.VideoCapture(self._index)
        if not self._capture.isOpened():
            self.close()
            raise SourceError(f"cannot open {self._name}: there is none, or another program uses it")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        size = tuple(int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        return StreamInfo(
            self._name, "camera", live=True, size=(size[0], size[1]), fps=fps if fps > 0 else None, format="bgr"
        )

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`.

        Raises:
            SourceError: The camera stopped giving frames.
        """
        first: int | None = None
        while not self._stop.is_set():
            if not self._capture.grab():
                break
            begin = time.monotonic_ns()
            if (pixels := self._retrieve()) is None:
                break
            first = begin if first is None else first
            pts = (begin - first) / 1e9
            yield Frame(pixels, source=self._name, pts=pts, captured=begin, recycle=self._pool.give)
        if not self._stop.is_set():
            raise SourceError(f"{self._name} stopped giving frames; check its cable and power")
