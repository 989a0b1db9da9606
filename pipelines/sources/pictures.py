"""Pictures from files."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame, Pixels
from lineside.pipelines.sources.formats import flaw, pages
from lineside.pipelines.sources.opencv import opencv
from lineside.runtime.errors import SourceError

__all__ = ["Pictures", "read_picture", "special"]

_KINDS = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a pipe"),
    (stat.S_ISSOCK, "it is a socket"),
    (stat.S_ISCHR, "it is a device"),
    (stat.S_ISBLK, "it is a device"),
)
"""What is no file although it has a name like one. Opening a pipe would wait for ever."""


def special(path: Path) -> str | None:
    """Why a path is no file with a content of its own; None where it is one.

    Raises:
        OSError: It cannot be looked at.
    """
    if not path.exists() and path.is_symlink():
        return "it is a link to something that is not there"
    mode = path.stat().st_mode
    return next((reason for test, reason in _KINDS if test(mode)), None)


def read_picture(path: str | Path) -> Pixels:
    """Reads one picture, turned the way its EXIF data say, in 8 bits per channel, without its transparency.

    Returns:
        ``(H, W, 3)`` uint8 BGR. Of a file with several pages it is the first one, see `formats.pages`.

    Raises:
        SourceError: The file cannot be read, is no picture, is cut off, or is too large.
    """
    return _decode(path, _bytes(path))


def _bytes(path: str | Path) -> bytes:
    try:
        reason = special(Path(path))
        data = b"" if reason else Path(path).read_bytes()
    except (OSError, MemoryError) as error:
        raise SourceError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not enough memory'}") from error
    reason = reason or ("the file is empty" if not data else flaw(data))
    if reason:
        raise SourceError(f"cannot read {path}: {reason}")
    return data


def _decode(path: str | Path, data: bytes) -> Pixels:
    cv2 = opencv()
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError) as error:
        raise SourceError(
            f"cannot read {path}: it is damaged, or larger than OpenCV reads (2^20 pixels a side, 2^30 in all)"
        ) from error
    if pixels is None:
        raise SourceError(f"cannot read {path}: it is damaged or not a picture")
    return pixels  # type: ignore[no-any-return]


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
    pixels, reason, note = None, None, None
    try:
        data = _bytes(path)
        pixels = _decode(path, data)
        if (count := pages(data)) > 1:
            note = f"{path} holds {count} pictures and only the first was inspected; save each as a file of its own"
    except SourceError as error:
        reason = str(error)
    return Frame(pixels, source=str(Path(path).parent), name=path, error=reason, note=note, captured=begin)
