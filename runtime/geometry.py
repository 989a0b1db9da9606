"""Where a picture lies in a model's input, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineside.runtime.errors import BadFrame, BadOption

__all__ = ["Letterbox", "Size"]

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A picture scaled by one factor, rounded to whole pixels per axis, and centred in the input.

    Make one with :meth:`fit`. Coordinates are continuous: ``(0, 0)`` is the outer corner of the first pixel.

    Attributes:
        image_size: Height and width of the picture, in pixels.
        input_size: Height and width of the model's input, in pixels.
        content_size: Height and width that the scaled picture takes within the input, in pixels.
        scale: The factor before rounding, ``min(w / W, h / H)``. Above 1 the picture is enlarged.
        pad: Columns left of the content and rows above it.
    """

    image_size: Size
    input_size: Size
    content_size: Size
    scale: float
    pad: tuple[int, int]

    @classmethod
    def fit(cls, image_size: Size, input_size: Size) -> Letterbox:
        """Fits a picture into an input: house plan, section 3.

        ``s = min(w / W, h / H)``; a content side is ``max(1, round_half_even(side * s))``; the pad is half of what is
        left, rounded down.

        Args:
            image_size: Height and width of the picture, in pixels.
            input_size: Height and width of the model's input, in pixels.

        Returns:
            The geometry of this pair of sizes.

        Raises:
            BadFrame: A side of the picture is below 1.
            BadOption: A side of the input is below 1.
        """
        image_h, image_w = (int(side) for side in image_size)
        input_h, input_w = (int(side) for side in input_size)
        if image_h < 1 or image_w < 1:
            raise BadFrame(f"a picture of {image_h}x{image_w} (HxW) has no pixels: both sides must be at least 1")
        if input_h < 1 or input_w < 1:
            raise BadOption(f"a model input of {input_h}x{input_w} (HxW): both sides must be at least 1")
        scale = min(input_w / image_w, input_h / image_h)
        content_h, content_w = max(1, round(image_h * scale)), max(1, round(image_w * scale))
        return cls(
            image_size=(image_h, image_w),
            input_size=(input_h, input_w),
            content_size=(content_h, content_w),
            scale=scale,
            pad=((input_w - content_w) // 2, (input_h - content_h) // 2),
        )

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Input pixels per picture pixel along x and y: they differ from :attr:`scale` by the rounding of the content."""
        return (self.content_size[1] / self.image_size[1], self.content_size[0] / self.image_size[0])

    def to_image(self, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Takes boxes from the input to the picture, per axis and without clipping.

        Args:
            boxes: ``(N, 4)`` xyxy in input pixels.

        Returns:
            ``(N, 4)`` float32 xyxy in picture pixels; a new array.
        """
        shift, factor = self._per_side()
        return (np.asarray(boxes, np.float32) - shift) / factor

    def to_input(self, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Takes boxes from the picture to the input: the inverse of :meth:`to_image`.

        Args:
            boxes: ``(N, 4)`` xyxy in picture pixels.

        Returns:
            ``(N, 4)`` float32 xyxy in input pixels; a new array.
        """
        shift, factor = self._per_side()
        return np.asarray(boxes, np.float32) * factor + shift

    def _per_side(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        return np.array(self.pad * 2, np.float32), np.array(self.scale_xy * 2, np.float32)
