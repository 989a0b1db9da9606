"""Pictures from files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame, Pixels
from lineside.pipelines.sources.opencv import opencv
from lineside.runtime.errors import SourceError

__all__ = ["Pictures", "read_picture"]


def read_picture(path: str | Path) -> Pixels:
    """Reads one picture, turned the way its EXIF data say.

    Returns:
        ``(H, W, 3)`` uint8 BGR.

    Raises:
        SourceError: The file cannot be read, is no picture, or is cut off.
    """
    cv2 = opencv()
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    if not data.size:
        raise SourceError(f"cannot read {path}: the file is empty")
    if _cut_off(data):
        raise SourceError(f"cannot read {path}: the JPEG is cut off before its end")
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise SourceError(f"cannot read {path}: {error.err or error}") from error
    if pixels is None:
        raise SourceError(f"cannot read {path}: it is damaged or not a picture")
    return pixels  # type: ignore[no-any-return]


def _cut_off(data: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bool:
    """Whether a JPEG has no end marker after its last scan.

    Older decoders fill the missing part with grey and say nothing, so that half a part would pass as inspected. In a
    scan every FF is followed by 00 or a restart marker, so that these two markers cannot occur by chance.
    """
    if data[:2].tobytes() != b"\xff\xd8":
        return False
    text = data.tobytes()
    return text.rfind(b"\xff\xd9") < text.rfind(b"\xff\xda")


class Pictures:
    """A list of picture files, of any sizes.

    Args:
        paths: The files, in order.
        name: Name for tables and events.
    """

    def __init__(self, paths: Sequence[str | Path], name: str = "") -> None:
        self._paths = [str(path) for path in paths]
        self._name = name or (self._paths[0] if len(self._paths) == 1 else f"{len(self._paths)} pictures")
        self._stop = threading.Event()

    def open(self) -> StreamInfo:
        """See `Source.open`.

        Raises:
            MissingPackage: OpenCV is not installed.
            SourceError: The list is empty.
        """
        opencv()
        if not self._paths:
            raise SourceError("the list of pictures is empty")
        return StreamInfo(self._name, "pictures", frames=len(self._paths))

    def frames(self) -> Iterator[Frame]:
        """See `Source.frames`."""
        for path in self._paths:
            if self._stop.is_set():
                return
            yield _frame(path)

    def stop(self) -> None:
        """See `Source.stop`."""
        self._stop.set()

    def close(self) -> None:
        """See `Source.close`."""


def _frame(path: str) -> Frame:
    begin = time.monotonic_ns()
    try:
        pixels, reason = read_picture(path), None
    except SourceError as error:
        pixels, reason = None, str(error)
    return Frame(pixels, source=str(Path(path).parent), name=path, error=reason, captured=begin)
