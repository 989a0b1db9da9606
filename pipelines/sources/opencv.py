"""OpenCV, imported when the first element needs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lineside.runtime.errors import MissingPackage

__all__ = ["native_path", "opencv"]


def opencv() -> Any:
    """The module ``cv2``.

    Its own log goes to the standard error output past all our messages; it is turned down to what is fatal unless
    the user asked for more through OpenCV's environment variables.

    Raises:
        MissingPackage: It is not installed.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise MissingPackage(
            "OpenCV is not installed, so pictures and videos cannot be read; "
            "install it with: pip install 'lineside[station]'"
        ) from error
    return cv2


def native_path(path: str | Path) -> bytes:
    """The name of a file as OpenCV's video functions take it, whatever bytes are in it.

    It is absolute: in a relative one FFmpeg takes what stands before a colon for a protocol.
    """
    return os.fsencode(Path(path).absolute())
