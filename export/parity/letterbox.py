"""The reference side's own letterbox, made with OpenCV, so that a fault of the shipped one cannot hide.

Follows the input contract of the bundle: scale to fit, round half to even, centre with the odd pixel right and below,
pad with 114, resample like OpenCV's ``INTER_LINEAR_EXACT``.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["PADDING", "Placement", "letterboxed", "place"]

PADDING = 114


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the input of the model.

    Attributes:
        image_size: Height and width of the picture.
        input_size: Height and width of the input.
        content: Height and width of the scaled picture.
        left: Padding columns on the left.
        top: Padding rows above.
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    content: tuple[int, int]
    left: int
    top: int

    @property
    def gain(self) -> tuple[float, float]:
        """Input pixels per picture pixel along x and y; they differ by the rounding of the content size."""
        return self.content[1] / self.image_size[1], self.content[0] / self.image_size[0]


def place(image_size: tuple[int, int], input_size: tuple[int, int]) -> Placement:
    """Fits a picture into an input.

    Args:
        image_size: Height and width of the picture.
        input_size: Height and width of the input.

    Returns:
        Where it lies.
    """
    scale = min(input_size[0] / image_size[0], input_size[1] / image_size[1])
    height, width = (max(1, round(side * scale)) for side in image_size)
    return Placement(
        image_size, input_size, (height, width), (input_size[1] - width) // 2, (input_size[0] - height) // 2
    )


def letterboxed(frame: npt.NDArray[np.uint8], at: Placement) -> npt.NDArray[np.uint8]:
    """Scales and pads a picture.

    Args:
        frame: Picture ``(H, W, 3)`` uint8 BGR, or ``(H, W)`` grey.
        at: Where it goes.

    Returns:
        The input ``(h, w, 3)`` uint8 RGB.
    """
    height, width = at.content
    if frame.ndim == 2:
        frame = np.asarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR), np.uint8)
    scaled = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    canvas = np.full((*at.input_size, 3), PADDING, np.uint8)
    canvas[at.top : at.top + height, at.left : at.left + width] = scaled[..., ::-1]
    return canvas
