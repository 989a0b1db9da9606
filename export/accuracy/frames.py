"""Pictures of a set, read as the station reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lineside.export.accuracy.found import Frame
from lineside.runtime.errors import DatasetError

__all__ = ["read_frame", "read_frames"]


def read_frame(path: Path) -> Frame:
    """Reads one picture: grey ones become three equal channels, 16 bits become 8, EXIF says which side is up.

    Returns:
        ``(H, W, 3)`` BGR.

    Raises:
        DatasetError: It cannot be read any more.
    """
    import cv2

    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DatasetError(
            f"'{path}' cannot be read ({error.strerror}): put it back, or take it out of the set"
        ) from error
    frame = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if frame is None:
        raise DatasetError(f"'{path}' is no picture that OpenCV can decode: take it out of the set")
    return np.asarray(frame, np.uint8)


def read_frames(paths: Sequence[Path]) -> Iterator[Frame]:
    """Reads pictures one by one."""
    return map(read_frame, paths)
