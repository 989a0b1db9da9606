"""Pictures as cameras and video decoders give them: luma and chroma, NV12 or I420."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from lineside.runtime import _native
from lineside.runtime.errors import BadFrame
from lineside.runtime.geometry import Size

__all__ = ["MAX_SIDE", "Matrix", "Picture", "Range", "Yuv", "YuvFormat", "check_words", "picture_size"]

MAX_SIDE = 65535
"""Longest side of a frame, in pixels."""

YuvFormat = Literal["NV12", "I420"]
Matrix = Literal["bt601", "bt709"]
Range = Literal["limited", "full"]
Plane = npt.NDArray[np.uint8]
_WIDEST = 1 << 31
"""No memory has rows this far apart, in bytes; numpy counts no further than 2^63."""


@dataclass(frozen=True, eq=False, repr=False)
class Yuv:
    """A picture of luma and chroma, 8 bits each, one U and one V for each square of 2 x 2 pixels.

    A view: nothing is copied, and whoever lends the memory lends it for as long as this lives. The model takes it as it
    is; `to_bgr` makes BGR pixels of it. Both follow one rule, in whole numbers. With ``y = max(Y - black, 0)`` and the U
    and V of the pixel's square (no interpolation between squares)::

        R = clamp((luma * y                         + v_red * (V - 128)   + 2**19) >> 20)
        G = clamp((luma * y + u_green * (U - 128)   + v_green * (V - 128) + 2**19) >> 20)
        B = clamp((luma * y + u_blue * (U - 128)                          + 2**19) >> 20)

        matrix  range    black     luma    v_red  u_green  v_green   u_blue
        bt601   limited     16  1220542  1673527  -409993  -852492  2116026
        bt601   full         0  1048576  1470104  -360853  -748826  1858077
        bt709   limited     16  1220945  1879825  -223607  -558796  2215014
        bt709   full         0  1048576  1651297  -196424  -490864  1945738

    ``>>`` rounds down and ``clamp`` keeps 0 to 255. The numbers are 2**20 times those of ITU-R BT.601-7 and BT.709-6
    (full range: as in JFIF); the first row has the three decimals that OpenCV uses, so that such a picture is the same,
    bit for bit, as by ``cv2.cvtColor`` with ``COLOR_YUV2BGR_NV12`` or ``COLOR_YUV2BGR_I420``.

    Args:
        format: ``NV12`` or ``I420``.
        planes: uint8 arrays with any strides, read-only too: luma ``(H, W)``, and then with ``h = (H + 1) // 2`` and
            ``w = (W + 1) // 2`` for NV12 ``(h, w, 2)``, U before V; for I420 U ``(h, w)`` and V ``(h, w)``. (NV21 is
            NV12 with ``[..., ::-1]``, YV12 is I420 with its last two planes swapped.) Rows of neighbouring values are
            converted faster than others.
        matrix: ``bt601``, or ``bt709`` as most cameras of 720 lines and more have it.
        range: ``limited`` (luma 16 to 235, chroma 16 to 240), or ``full``.

    Raises:
        BadFrame: A format, matrix or range is none of these, or the planes do not make one picture.
    """

    format: YuvFormat
    planes: tuple[Plane, ...]
    matrix: Matrix = "bt601"
    range: Range = "limited"

    def __post_init__(self) -> None:
        check_words(self.format, self.matrix, self.range)
        planes = tuple(self.planes)
        object.__setattr__(self, "planes", planes)
        if not all(isinstance(plane, np.ndarray) and plane.dtype == np.uint8 for plane in planes):
            raise BadFrame("the planes of a YUV picture must be numpy arrays of uint8: use Yuv.from_buffer for bytes")
        shapes = tuple(plane.shape for plane in planes)
        luma = shapes[0] if shapes else ()
        if len(luma) != 2 or not 1 <= min(luma) <= max(luma) <= MAX_SIDE:
            raise BadFrame(
                f"the luma of a YUV picture has the shape {luma}: it must be (H, W), both between 1 and {MAX_SIDE} pixels"
            )
        if shapes != (wanted := _shapes(self.format, (luma[0], luma[1]))):
            raise BadFrame(
                f"planes of the shapes {shapes}: {self.format} of {luma[1]} x {luma[0]} pixels has {wanted}, a chroma "
                "value for every 2 x 2 pixels, rounded up at odd sides"
            )

    @classmethod
    def from_buffer(
        cls,
        data: Any,
        format: YuvFormat,  # noqa: A002 (as the field is called)
        size: Size,
        *,
        strides: Sequence[int] | None = None,
        offsets: Sequence[int] | None = None,
        matrix: Matrix = "bt601",
        range: Range = "limited",  # noqa: A002 (as the field is called)
    ) -> Yuv:
        """A view into one block of memory that holds all planes.

        Args:
            data: Bytes, a memoryview, a C-contiguous array: anything with the buffer protocol.
            format: ``NV12`` or ``I420``.
            size: Height and width, in pixels.
            strides: Bytes from row to row of each plane; None: the rows touch each other.
            offsets: Where each plane starts, in bytes; None: the planes touch each other.
            matrix: As for the class.
            range: As for the class.

        Raises:
            BadFrame: As for the class; or the block is too short, or rows overlap.
        """
        if format not in get_args(YuvFormat) or min(size) < 1:
            raise BadFrame(f"{format!r} of {size[1]} x {size[0]} pixels is no YUV picture: choose NV12 or I420")
        shapes = _shapes(format, size)
        packed = [int(np.prod(shape[1:])) for shape in shapes]
        steps = packed if strides is None else [int(step) for step in strides[: len(shapes)]]
        fit = [least <= step < _WIDEST for step, least in zip(steps, packed, strict=False)]
        if len(fit) != len(shapes) or not all(fit):
            raise BadFrame(
                f"strides of {strides} bytes: {format} of {size[1]} x {size[0]} pixels needs {packed} or more"
            )
        rows = [shape[0] for shape in shapes]
        tight = [sum(count * step for count, step in zip(rows[:i], steps, strict=False)) for i, _ in enumerate(rows)]
        starts = tight if offsets is None else [int(start) for start in offsets[: len(shapes)]]
        flat = _bytes_of(data)
        ends = [a + (n - 1) * step + least for a, n, step, least in zip(starts, rows, steps, packed, strict=False)]
        if len(ends) != len(shapes) or min(starts) < 0 or max(ends) > flat.size:
            raise BadFrame(
                f"{flat.size} bytes do not hold {format} of {size[1]} x {size[0]} pixels with strides {steps} at offsets "
                f"{starts}: they end at {max(ends, default=0)}"
            )
        planes = tuple(
            np.ndarray(shape, np.uint8, flat, start, (step, *((2, 1) if len(shape) == 3 else (1,))))
            for shape, start, step in zip(shapes, starts, steps, strict=True)
        )
        return cls(format, planes, matrix, range)

    @property
    def size(self) -> Size:
        """Height and width, in pixels."""
        height, width = self.planes[0].shape
        return height, width

    @property
    def nbytes(self) -> int:
        """Bytes of all planes."""
        return sum(plane.nbytes for plane in self.planes)

    @property
    def parts(self) -> tuple[Plane, Plane, Plane]:
        """Luma ``(H, W)``, U and V ``((H + 1) // 2, (W + 1) // 2)``, whatever the format: views."""
        if self.format == "I420":
            luma, u, v = self.planes
            return luma, u, v
        luma, chroma = self.planes
        return luma, chroma[..., 0], chroma[..., 1]

    def to_bgr(self, out: Plane | None = None) -> Plane:
        """The picture as BGR pixels, by the rule of the class.

        Args:
            out: ``(H, W, 3)`` uint8, C-contiguous and writeable, to be filled; a new array when None.

        Returns:
            ``(H, W, 3)`` uint8 BGR: ``out`` where it was given.

        Raises:
            BadFrame: ``out`` has another shape, dtype or layout.
        """
        shape = (*self.size, 3)
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8 or not out.flags.carray:
            raise BadFrame(
                f"an output of shape {out.shape} and dtype {out.dtype}: it must be {shape}, uint8, C-contiguous and writeable"
            )
        _native.yuv_to_bgr(*self.parts, self.matrix == "bt709", self.range == "full", out)
        return out

    def __repr__(self) -> str:
        height, width = self.size
        return f"Yuv({self.format} {width}x{height}, {self.matrix}, {self.range} range)"


Picture = npt.NDArray[np.uint8] | Yuv
"""What a model takes: ``(H, W, 3)`` uint8 BGR, ``(H, W)`` uint8 grey, or a `Yuv`."""


def check_words(format: str, matrix: str, range: str) -> None:  # noqa: A002  # as the fields are called
    """Refuses what says no format, matrix or range of a picture of luma and chroma.

    Args:
        format: As of `Yuv`, and so are the others.
        matrix: As there.
        range: As there.

    Raises:
        BadFrame: One of them is none of those that there are.
    """
    for word, allowed, what in ((format, YuvFormat, "format"), (matrix, Matrix, "matrix"), (range, Range, "range")):
        if word not in get_args(allowed):
            raise BadFrame(f"{word!r} is no {what} of a YUV picture: choose {' or '.join(get_args(allowed))}")


def picture_size(picture: Picture) -> Size:
    """Height and width in pixels."""
    return picture.size if isinstance(picture, Yuv) else (picture.shape[0], picture.shape[1])


def _bytes_of(data: Any) -> Plane:
    """A block of memory as one array, a view.

    Raises:
        BadFrame: It is no block of memory.
    """
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise BadFrame(
            f"the memory of a YUV picture cannot be viewed: {error}; give bytes or a C-contiguous array"
        ) from None


def _shapes(kind: YuvFormat, size: Size) -> tuple[tuple[int, ...], ...]:
    """Shape of each plane."""
    height, width = size
    chroma = (height + 1) // 2, (width + 1) // 2
    return ((height, width), (*chroma, 2)) if kind == "NV12" else ((height, width), chroma, chroma)
