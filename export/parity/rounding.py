"""What rounding the weights to FP16 changes: torch with rounded weights against torch without, for information."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lineside.export.parity.reference import Reference
from lineside.export.parity.rows import follow, rows_of
from lineside.export.pictures import Picture

__all__ = ["rounding_effect"]

PICTURES = 4
ANCHORS = 64


def rounding_effect(plain: Reference, rounded: Reference, pictures: Sequence[Picture]) -> dict[str, float]:
    """Greatest differences that rounding makes among the best anchors of a few pictures.

    Args:
        plain: The model with its own weights.
        rounded: The model with rounded weights.
        pictures: Pictures; the first few are used.

    Returns:
        ``score`` and ``box_px``, the latter in picture pixels.
    """
    worst = {"score": 0.0, "box_px": 0.0}
    for picture in pictures[:PICTURES]:
        a, b = plain(picture.frame), rounded(picture.frame)
        if a.final:
            b = follow(rows_of(a), b)
        best = torch.topk(a.scores.amax(1), min(ANCHORS, len(a.scores))).indices
        worst["score"] = max(worst["score"], float((a.scores[best] - b.scores[best]).abs().max()))
        worst["box_px"] = max(worst["box_px"], float((a.boxes[best] - b.boxes[best]).abs().max()))
    return worst
