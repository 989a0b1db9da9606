"""What may differ from frame to frame, as one small block that the host writes and the kernels read.

So a captured graph serves every threshold, every mask mode, and every place in memory that a picture may have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda.staging import Form
from lineside.runtime.postprocess import MASK_MODES, check_options

__all__ = ["PARAMETERS", "Source", "write_parameters"]

PARAMETERS = np.dtype(
    [
        ("plane", "<i8", 3),
        ("row", "<i8", 3),
        ("step", "<i8", 3),
        ("channel", "<i8"),
        ("conf", "<f4"),
        ("floor", "<f4"),
        ("iou", "<f4"),
        ("max_det", "<i4"),
        ("masks", "<i4"),
        ("agnostic", "<i4"),
    ]
)
"""``FrameParameters`` of frame.cuh."""

_MOST = 2**31 - 1
_LARGEST = float(np.finfo(np.float32).max)
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Source:
    """Where the pixels of a picture lie, in memory that the device reads.

    Attributes:
        plane: Addresses: of a packed picture the first value, else of luma, U and V.
        row: Bytes from row to row of each plane.
        step: Bytes from value to value of each plane; of a packed picture, from pixel to pixel.
        channel: Bytes from channel to channel of a packed picture; 0 where it is grey.
    """

    plane: Triple
    row: Triple
    step: Triple
    channel: int = 0

    @classmethod
    def dense(cls, form: Form, address: int) -> Source:
        """A picture without gaps, as `lineside.runtime.cuda.staging.stage` writes it.

        Args:
            form: Its kind and size.
            address: Its first byte.
        """
        height, width = form.size
        if form.kind != "nv12":
            pixel = 3 if form.kind == "bgr" else 1
            return cls.packed(address, (width * pixel, pixel, 1)[: 3 if form.kind == "bgr" else 2])
        chroma, pairs = address + height * width, 2 * ((width + 1) // 2)
        return cls((address, chroma, chroma + 1), (width, pairs, pairs), (1, 2, 2))

    @classmethod
    def packed(cls, address: int, strides: Sequence[int]) -> Source:
        """A BGR or grey picture with any strides.

        Args:
            address: Its pixel ``[0, 0]``, the blue one.
            strides: Bytes from row to row, from pixel to pixel and, but for grey, from channel to channel.
        """
        row, step, *channel = strides
        return cls((address, 0, 0), (row, 0, 0), (step, 0, 0), channel[0] if channel else 0)

    @classmethod
    def planar(cls, addresses: Triple, rows: Triple, steps: Triple = (1, 1, 1)) -> Source:
        """Luma and chroma, each plane anywhere.

        Args:
            addresses: The first bytes of luma, U and V.
            rows: Bytes from row to row of each.
            steps: Bytes from sample to sample of each: 1 for I420, ``(1, 2, 2)`` for NV12.
        """
        return cls(addresses, rows, steps)


def write_parameters(
    block: npt.NDArray[np.uint8],
    head: HeadContract,
    source: Source,
    conf: float,
    iou: float,
    max_det: int,
    masks: str,
    agnostic: bool,
) -> None:
    """Fills the block for one picture.

    Args:
        block: ``(PARAMETERS.itemsize,)`` uint8 or longer, in memory of the host.
        head: The head contract.
        source: Where the picture lies.
        conf: As for `lineside.runtime.decode`, and so are the others.
        iou: As there.
        max_det: As there.
        masks: As there.
        agnostic: As there.

    Raises:
        BadOption: An option is out of its range.
    """
    check_options(conf, iou, max_det, masks)
    single = np.float32(conf)
    values = block[: PARAMETERS.itemsize].view(PARAMETERS)
    values[0] = (
        source.plane,
        source.row,
        source.step,
        source.channel,
        single,
        _floor(float(single)) if head.kind == "levels" else single,
        np.float32(iou),
        min(int(max_det), _MOST),
        MASK_MODES[masks],
        bool(agnostic),
    )


@lru_cache(maxsize=64)
def _floor(conf: float) -> float:
    """The largest float32 logit whose score is not above conf: above it is every logit whose score is."""
    low, high = np.float32(-200), np.float32(200)
    if not _score(high) > conf:
        return _LARGEST
    while True:
        middle = np.float32(low + np.float32(high - low) / np.float32(2))
        if middle <= low or middle >= high:
            return float(low)
        if _score(middle) > conf:
            high = middle
        else:
            low = middle


def _score(logit: np.float32) -> float:
    """The sigmoid in double precision, rounded once to float32."""
    return float(np.float32(1 / (1 + math.exp(-float(logit)))))
