"""From a picture of the host's to the dense bytes that are uploaded: one memory, laid out by kind and size alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lineside.runtime.geometry import Size
from lineside.runtime.preprocess import check_frame
from lineside.runtime.yuv import Picture, Yuv

__all__ = ["Form", "PixelKind", "form_of", "stage"]

PixelKind = Literal["bgr", "grey", "nv12"]
"""``bgr``: rows of ``W * 3`` bytes. ``grey``: rows of ``W`` bytes. ``nv12``: those, then ``(H + 1) // 2`` rows of
``(W + 1) // 2`` pairs U V."""


@dataclass(frozen=True)
class Form:
    """What one captured graph takes: pictures of one form differ in nothing but their values.

    Attributes:
        kind: What the bytes are.
        size: Height and width in pixels.
        matrix: Of an ``nv12`` picture, as in `Yuv`; else empty.
        range: Of an ``nv12`` picture, as in `Yuv`; else empty.
    """

    kind: PixelKind
    size: Size
    matrix: str = ""
    range: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of such a picture."""
        height, width = self.size
        if self.kind == "nv12":
            return height * width + 2 * ((height + 1) // 2) * ((width + 1) // 2)
        return height * width * (3 if self.kind == "bgr" else 1)


def form_of(frame: Picture) -> Form:
    """The form of a picture of the host's.

    Args:
        frame: As `Segmenter` takes it.

    Raises:
        BadFrame: It is not one that the runtime reads.
    """
    check_frame(frame)
    if isinstance(frame, Yuv):
        return Form("nv12", frame.size, frame.matrix, frame.range)
    return Form("grey" if frame.ndim == 2 else "bgr", (frame.shape[0], frame.shape[1]))


def stage(frame: Picture, into: npt.NDArray[np.uint8]) -> None:
    """Copies a picture with whatever strides into dense bytes; I420 becomes NV12 on the way.

    Args:
        frame: The picture.
        into: ``(nbytes,)`` uint8, as long as `Form.nbytes` says or longer.
    """
    if not isinstance(frame, Yuv):
        np.copyto(into[: frame.size].reshape(frame.shape), frame)
        return
    height, width = frame.size
    luma, u, v = frame.parts
    np.copyto(into[: height * width].reshape(height, width), luma)
    chroma = into[height * width : height * width + 2 * u.size].reshape(*u.shape, 2)
    if frame.format == "NV12":
        np.copyto(chroma, frame.planes[1])
        return
    chroma[..., 0], chroma[..., 1] = u, v
