"""Luma and chroma that lie on the device already, as a GPU's video decoder gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lineside.runtime.cuda.arrays import DevicePicture, device_array, on_device, outside
from lineside.runtime.cuda.parameters import Source
from lineside.runtime.cuda.staging import Form
from lineside.runtime.errors import BadFrame
from lineside.runtime.yuv import MAX_SIDE, Matrix, Range, YuvFormat, check_words

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Device, Stream

__all__ = ["DevicePlanes", "DeviceYuv", "device_planes"]


@dataclass(frozen=True, eq=False)
class DeviceYuv:
    """A picture of luma and chroma on the device, taken as a `lineside.runtime.yuv.Yuv` is and not copied.

    Args:
        format: ``NV12`` or ``I420``.
        planes: Arrays of uint8 with any strides that show ``__cuda_array_interface__`` or ``__dlpack__``, shaped as those
            of `lineside.runtime.yuv.Yuv`: luma ``(H, W)``, then with ``h = (H + 1) // 2`` and ``w = (W + 1) // 2`` chroma
            ``(h, w, 2)`` or, for I420, U and V ``(h, w)``. Or for NV12 a single one ``(H + H // 2, W)``, rows of chroma
            below those of luma, both sides even. All must stay as they are until the call is over.
        matrix: As for `lineside.runtime.yuv.Yuv`.
        range: As for `lineside.runtime.yuv.Yuv`.

    Raises:
        BadFrame: A format, matrix or range is none of those, or a plane does not lie on a device. Shapes and places are
            looked at when the model is called.
    """

    format: YuvFormat
    planes: Sequence[object]
    matrix: Matrix = "bt601"
    range: Range = "limited"

    def __post_init__(self) -> None:
        check_words(self.format, self.matrix, self.range)
        for plane in self.planes:
            if not on_device(plane):
                raise BadFrame(
                    f"a plane of type {type(plane).__name__} does not lie on a device: use lineside.runtime.yuv.Yuv"
                )


@dataclass(frozen=True)
class DevicePlanes:
    """Such a picture, found.

    Attributes:
        form: What a graph is captured for.
        source: Where kernels find its pixels.
        parts: The arrays, as they were given.
    """

    form: Form
    source: Source
    parts: tuple[DevicePicture, ...]


def device_planes(picture: DeviceYuv, device: Device, stream: Stream) -> DevicePlanes:
    """A picture of somebody else's as the frame path reads it.

    Args:
        picture: What to find.
        device: On which it must lie.
        stream: On which it will be read.

    Raises:
        BadFrame: The planes do not make one picture, do not hold uint8, or lie elsewhere.
    """
    parts = tuple(device_array(plane, device, stream) for plane in picture.planes)
    luma, u, v = _planes(picture.format, parts)
    for part in parts:
        if not device.reaches(*part.span):
            raise outside(part, device)
    return DevicePlanes(
        Form("nv12", (luma.shape[0], luma.shape[1]), picture.matrix, picture.range),
        Source.planar(
            (luma.address, u.address, v.address),
            (luma.strides[0], u.strides[0], v.strides[0]),
            (luma.strides[1], u.strides[1], v.strides[1]),
        ),
        parts,
    )


def _planes(kind: YuvFormat, parts: tuple[DevicePicture, ...]) -> tuple[DevicePicture, DevicePicture, DevicePicture]:
    """Luma, U and V, each with two sides."""
    if kind == "NV12" and len(parts) == 1:
        parts = _split(parts[0])
    luma, *chroma = parts or (None,)
    if luma is not None and len(luma.shape) == 2 and 1 <= min(luma.shape) <= max(luma.shape) <= MAX_SIDE:
        small = ((luma.shape[0] + 1) // 2, (luma.shape[1] + 1) // 2)
        if kind == "I420" and [plane.shape for plane in chroma] == [small, small]:
            return luma, chroma[0], chroma[1]
        if kind == "NV12" and [plane.shape for plane in chroma] == [(*small, 2)]:
            return luma, _channel(chroma[0], 0), _channel(chroma[0], 1)
    raise BadFrame(
        f"planes of the shapes {tuple(part.shape for part in parts)} make no picture: {kind} has luma (H, W), both up "
        f"to {MAX_SIDE} pixels, and "
        + ("chroma (h, w, 2)" if kind == "NV12" else "U and V (h, w)")
        + " with h and w half of "
        "that, rounded up"
    )


def _split(whole: DevicePicture) -> tuple[DevicePicture, ...]:
    """Luma and chroma of one array, where it can hold both."""
    if len(whole.shape) != 2 or whole.shape[0] % 3 or whole.shape[1] % 2:
        return (whole,)
    rows, width = whole.shape
    row, step = whole.strides
    height = rows // 3 * 2
    return (
        DevicePicture(whole.address, (height, width), (row, step), None, whole),
        DevicePicture(whole.address + height * row, (height // 2, width // 2, 2), (row, 2 * step, step), None, whole),
    )


def _channel(chroma: DevicePicture, index: int) -> DevicePicture:
    """U or V of both beside each other."""
    rows, columns, channels = chroma.strides
    return DevicePicture(chroma.address + index * channels, chroma.shape[:2], (rows, columns), None, chroma)
