"""Video files, through OpenCV."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.sources.capture import Capture
from lineside.pipelines.sources.opencv import opencv
from lineside.runtime.errors import SourceError

__all__ = ["Video"]


class Video(Capture):
    """One video file, every frame of it, decoded into buffers that are used again.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = str(path)
        self._expected = 0
        self._fps = 0.0

    def open(self) -> StreamInfo:
        """See `Source.open`.

        Raises:
            MissingPackage: OpenCV is not installed.
            SourceError: The file is not there or no video.
        """
        cv2 = opencv()
        path = Path(self._path)
        if not path.exists():
            raise SourceError(f"there is no video {self._path}")
        self._capture = cv2.VideoCapture(self._path)
        if not self._capture.isOpened():
            self.close()
            reason = "the file is empty" if path.stat().st_size == 0 else "it is damaged, cut off or not a video"
            raise SourceError(f"cannot read the video {self._path}: {reason}")
        self._expected = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        fps = self._fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        return StreamInfo(self._path, "video", frames=self._expected or None, fps=fps if 0 < fps < 1000 else None)

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`. A file that ends before its time gives one failed frame in place of the rest."""
        cv2, capture = opencv(), self._capture
        count, pts = 0, 0.0
        while not self._stop.is_set():
            begin = time.monotonic_ns()
            if not capture.grab():
                break
            pts = max(0.0, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            if (pixels := self._retrieve()) is None:
                break
            count += 1
            yield Frame(
                pixels,
                source=self._path,
                name=self._path,
                pts=pts,
                captured=begin,
                recycle=self._pool.give,
            )
        if not self._stop.is_set():
            yield from self._missing(count, pts)

    def _missing(self, count: int, last: float) -> Iterator[Frame]:
        """A failed frame that stands for those which the file should have had, after the one presented last."""
        # Some containers (Matroska) know only how long they are: their number of frames is that times the mean rate,
        # and too high where the rate varies. Who has come to the end of that time has seen them all.
        missing = self._expected - max(count, round(last * self._fps) + 1)
        if count and missing <= max(2, self._expected // 50):  # Containers miscount by a frame or two.
            return
        reason = "has no frames" if not count else f"breaks off after {count} of {self._expected} frames"
        yield Frame(None, source=self._path, name=self._path, error=f"the video {reason}", captured=time.monotonic_ns())
