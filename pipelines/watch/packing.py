"""A picture as plain bytes and back, without converting it: for memory that two processes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lineside.pipelines.frame import Pixels
from lineside.runtime.yuv import Yuv

__all__ = ["Shape", "pack", "shape_of", "unpack"]


@dataclass(frozen=True)
class Shape:
    """What is to be known to read the bytes.

    Attributes:
        size: Shape of the array of pixels; height and width of a `Yuv`.
        yuv: Format, matrix and range of a `Yuv`; empty for pixels.
        nbytes: How many bytes there are.
    """

    size: tuple[int, ...]
    yuv: tuple[Any, ...]
    nbytes: int


def shape_of(picture: Pixels | Yuv) -> Shape:
    """What is to be known of a picture."""
    if isinstance(picture, Yuv):
        return Shape(picture.size, (picture.format, picture.matrix, picture.range), picture.nbytes)
    return Shape(picture.shape, (), picture.nbytes)


def pack(picture: Pixels | Yuv, memory: Any) -> None:
    """Writes a picture into a block of memory, rows and planes one right after the other.

    Args:
        picture: The picture.
        memory: A writable buffer of at least its bytes.
    """
    place = 0
    for plane in picture.planes if isinstance(picture, Yuv) else (picture,):
        np.copyto(np.ndarray(plane.shape, np.uint8, memory, place), plane)
        place += plane.nbytes


def unpack(shape: Shape, block: Pixels) -> Pixels | Yuv:
    """The picture in a block of memory, as a view.

    Args:
        shape: What is to be known.
        block: ``(nbytes,)`` uint8.
    """
    if not shape.yuv:
        return block.reshape(shape.size)
    kind, matrix, span = shape.yuv
    return Yuv.from_buffer(block, kind, (shape.size[0], shape.size[1]), matrix=matrix, range=span)
