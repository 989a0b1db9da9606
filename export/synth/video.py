"""Writes an mp4 that appears under its name when it is whole."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["VideoWriter"]


class VideoWriter:
    """An mp4 file (MPEG-4 video, constant frame rate), written under a temporary name and renamed at the end.

    Use it as a context manager: leaving it by an exception, Ctrl-C included, removes what was written.

    Args:
        path: File to make.
        fps: Pictures per second.
        size: (width, height), px.

    Raises:
        OSError: The file cannot be opened, or not all pictures were written.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self._path = path
        self._size = size
        self._scratch = path.with_name(f".{path.stem}.part{path.suffix}")
        self._writer = cv2.VideoWriter(str(self._scratch), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        if not self._writer.isOpened():
            self._scratch.unlink(missing_ok=True)
            raise OSError(f"no mp4 encoder, or no right to write in '{path.parent}'")

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, image: NDArray[np.uint8]) -> None:
        """Appends one picture, (height, width, 3) uint8 BGR of the size given at the start.

        Raises:
            ValueError: The picture has another size, which OpenCV would drop without a word.
        """
        if image.shape != (self._size[1], self._size[0], 3):
            raise ValueError(f"a picture of shape {image.shape} in a video of {self._size[0]}x{self._size[1]} px")
        self._writer.write(image)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.release()
        if kind is None:
            os.replace(self._scratch, self._path)
        else:
            self._scratch.unlink(missing_ok=True)
