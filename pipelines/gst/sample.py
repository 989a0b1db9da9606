"""A picture in GStreamer's own memory, as an array: mapped, not copied."""

from __future__ import annotations

from ctypes import byref
from dataclasses import replace
from typing import Any

import numpy as np

from lineside.pipelines.frame import Pixels
from lineside.pipelines.gst.structs import VideoFrame, VideoInfo
from lineside.runtime.yuv import Matrix, Picture, Range, Yuv

__all__ = ["FORMATS", "Loans", "Mapped", "copied", "picture"]

FORMATS = ("NV12", "I420", "BGR", "BGRx", "BGRA", "GRAY8")
"""Pixel formats that are taken as they come; GStreamer converts all others."""

_READ = 1
_CHANNELS = {"BGR": 3, "BGRx": 4, "BGRA": 4}
_FULL = 1
"""``GST_VIDEO_COLOR_RANGE_0_255``."""
_OLD = (2, 4)
"""``GST_VIDEO_COLOR_MATRIX_FCC`` and ``_BT601``, which share their numbers."""
_UNKNOWN = 0
_HD = 577
"""Lines from which on a video that does not name its colours has those of BT.709."""


class Loans:
    """The pictures of one source that somebody still holds."""

    def __init__(self) -> None:
        self._out: set[int] = set()

    def __len__(self) -> int:
        return len(self._out)

    def lend(self, mapped: Mapped) -> None:
        """Notes a picture; it strikes itself off when its memory is given back, from whichever thread that happens in."""
        self._out.add(id(mapped))

    def back(self, mapped: Mapped) -> None:
        """Strikes a picture off. Without a lock, which the garbage collector could ask for twice in one thread."""
        self._out.discard(id(mapped))


class Mapped:
    """The planes of one buffer, readable until this object goes; then GStreamer has its memory back.

    Arrays hold it as their base. So a picture lives as long as any view on it: beyond the pipeline that made it, and
    through mistakes of those who keep one too long.

    Args:
        gst: See `library`.
        info: Format and size of the buffer, from its caps.
        buffer: The buffer; referenced from here on.
        loans: Where it is noted meanwhile.

    Raises:
        ValueError: The buffer is smaller than its format says, or its memory cannot be read.
    """

    __slots__ = ("_frame", "_gst", "_loans")

    def __init__(self, gst: Any, info: VideoInfo, buffer: int, loans: Loans) -> None:
        self._gst = None
        frame = VideoFrame()
        if not gst.gst_video_frame_map(byref(frame), byref(info), buffer, _READ):
            raise ValueError("the buffer is smaller than a picture, or cannot be read")
        self._frame = frame
        self._gst = gst
        self._loans = loans
        loans.lend(self)

    def __del__(self) -> None:
        if self._gst is not None:
            self._loans.back(self)
            self._gst.gst_video_frame_unmap(byref(self._frame))

    @property
    def info(self) -> VideoInfo:
        """Format, size and the true row strides."""
        return self._frame.info  # type: ignore[no-any-return]

    def plane(self, number: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Pixels:
        """One plane as an array that cannot be written to.

        Args:
            number: Which plane, from 0.
            shape: Its shape; uint8.
            strides: Bytes from one element to the next, per axis.
        """
        return np.asarray(_Plane(self, self._frame.data[number], shape, strides))


class _Plane:
    """What numpy needs to make an array that keeps a `Mapped` alive."""

    __slots__ = ("__array_interface__", "_mapped")

    def __init__(self, mapped: Mapped, address: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self._mapped = mapped
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": shape,
            "strides": strides,
            "data": (address, True),
        }


def picture(mapped: Mapped) -> Picture:
    """The picture as what `Frame` takes.

    Returns:
        ``(H, W, 3)`` uint8 BGR, ``(H, W)`` uint8 grey, or a `Yuv`; a view on the mapped memory.
    """
    info = mapped.info
    name = info.format.contents.name.decode()
    height, width = int(info.height), int(info.width)
    if name in _CHANNELS:
        channels = _CHANNELS[name]
        return mapped.plane(0, (height, width, channels), (info.stride[0], channels, 1))[..., :3]
    grey = mapped.plane(0, (height, width), (info.stride[0], 1))
    if name == "GRAY8":
        return grey
    rows, columns = (height + 1) // 2, (width + 1) // 2
    old = info.matrix in _OLD or (info.matrix == _UNKNOWN and height < _HD)
    matrix: Matrix = "bt601" if old else "bt709"
    levels: Range = "full" if info.range == _FULL else "limited"
    if name == "NV12":
        return Yuv("NV12", (grey, mapped.plane(1, (rows, columns, 2), (info.stride[1], 2, 1))), matrix, levels)
    u, v = (mapped.plane(k, (rows, columns), (info.stride[k], 1)) for k in (1, 2))
    return Yuv("I420", (grey, u, v), matrix, levels)


def copied(pixels: Picture) -> Picture:
    """The picture in memory of its own."""
    if isinstance(pixels, Yuv):
        return replace(pixels, planes=tuple(plane.copy() for plane in pixels.planes))
    return pixels.copy()
