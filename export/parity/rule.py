"""Masks by the rule of the bundle format, computed with torch in float64, one detection at a time.

The value at picture pixel ``(X, Y)`` is one bilinear sample of ``coefficients . prototypes`` at
``u = ((X + 0.5) * sx + left) * pw / w - 0.5`` (``v`` alike), clamped to the centres of the cells that the picture's
content covers; the mask is where it is above 0 and ``x1 <= X < x2``, ``y1 <= Y < y2``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from lineside.export.parity.letterbox import Placement
from lineside.export.ultra import prepare

__all__ = ["native_masks", "rule_mask"]


def rule_mask(
    coefficients: torch.Tensor, protos: torch.Tensor, box: torch.Tensor, at: Placement
) -> npt.NDArray[np.bool_]:
    """The mask of one detection.

    Args:
        coefficients: ``(coefficients,)``.
        protos: ``(coefficients, ph, pw)``.
        box: ``(4,)`` xyxy in picture pixels, clipped to the picture.
        at: Where the picture lies in the input.

    Returns:
        ``(H, W)`` mask.
    """
    logits = torch.einsum("c,chw->hw", coefficients.double(), protos.double())
    (gx, gy), (height, width) = at.gain, at.image_size
    mask = np.zeros((height, width), np.bool_)
    columns = _inside(float(box[0]), float(box[2]), width)
    rows = _inside(float(box[1]), float(box[3]), height)
    if not len(columns) or not len(rows):
        return mask
    x0, x1, fx = _sample(columns, gx, at.left, at.content[1], logits.shape[1], at.input_size[1])
    y0, y1, fy = _sample(rows, gy, at.top, at.content[0], logits.shape[0], at.input_size[0])
    blended = logits[y0] * (1 - fy)[:, None] + logits[y1] * fy[:, None]  # down first: there are fewer columns of cells
    value = blended[:, x0] * (1 - fx) + blended[:, x1] * fx
    mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = (value > 0).numpy()
    return mask


def _inside(low: float, high: float, size: int) -> range:
    """Pixels ``low <= p < high`` of an axis."""
    return range(max(0, int(np.ceil(low))), min(size, int(np.ceil(high))))


def _sample(
    pixels: range, gain: float, pad: int, content: int, cells: int, side: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Lower cell, upper cell and weight of the upper one for each pixel of an axis."""
    centres = torch.arange(pixels.start, pixels.stop, dtype=torch.float64) + 0.5
    ratio = cells / side
    first, last = math.floor(pad * ratio), math.ceil((pad + content) * ratio) - 1
    u = ((centres * gain + pad) * ratio - 0.5).clamp(first, last)
    lower = u.floor()
    upper = (lower + 1).clamp(max=last)
    return lower.long(), upper.long(), u - lower


def native_masks(
    coefficients: torch.Tensor, protos: torch.Tensor, boxes: torch.Tensor, image_size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Masks as ultralytics' ``process_mask_native`` makes them, for comparison only.

    Args:
        coefficients: ``(N, coefficients)``.
        protos: ``(coefficients, ph, pw)``.
        boxes: ``(N, 4)`` xyxy in picture pixels.
        image_size: Height and width of the picture.

    Returns:
        ``(N, H, W)`` masks of 0 and 1.
    """
    prepare()
    from ultralytics.utils.ops import process_mask_native

    masks = process_mask_native(protos.float(), coefficients.float(), boxes.float(), image_size)
    result: npt.NDArray[np.uint8] = masks.numpy().astype(np.uint8)
    return result
