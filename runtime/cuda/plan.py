"""The numbers that a model and a picture size fix, as the kernels read them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineside.runtime.contract import HeadContract
from lineside.runtime.cuda.tables import KINDS, PLAN, cell_range, cells_per_pixel
from lineside.runtime.geometry import Letterbox

__all__ = ["plan_of"]


def plan_of(
    head: HeadContract, box: Letterbox, anchors: int, blocks: int, detections: int, words: int, bands: int
) -> npt.NDArray[np.void]:
    """Makes the plan.

    Args:
        head: The head contract.
        box: How the picture lies in the input.
        anchors: Anchors of all levels, or rows of an ``end2end`` table.
        blocks: Into which the scan divides them.
        detections: Places for detections.
        words: Places for words of masks.
        bands: Of a mask that a block solves together.

    Returns:
        ``(1,)`` of ``PLAN``.
    """
    (input_h, input_w), (protos_h, protos_w) = box.input_size, head.protos_size
    (scale_x, scale_y), (left, top), (content_h, content_w) = box.scale_xy, box.pad, box.content_size
    plan = np.zeros(1, PLAN)
    values = {
        "kind": KINDS[head.kind],
        "classes": head.classes,
        "coefficients": head.coefficients,
        "reg_max": head.reg_max,
        "levels": len(head.strides) if head.kind == "levels" else 1,
        "anchors": anchors,
        "blocks": blocks,
        "detections": detections,
        "words": words,
        "image_h": box.image_size[0],
        "image_w": box.image_size[1],
        "protos_h": protos_h,
        "protos_w": protos_w,
        "last_u": cell_range(left, content_w, input_w, protos_w)[1] - 1,
        "last_v": cell_range(top, content_h, input_h, protos_h)[1] - 1,
        "bands": bands,
        "left": left,
        "top": top,
        "scale_x": scale_x,
        "scale_y": scale_y,
        "pixels_per_cell": 1 / cells_per_pixel(scale_x, input_w, protos_w),
    }
    for name, value in values.items():
        plan[name] = value
    return plan
