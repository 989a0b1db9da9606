"""How far a bundle may be from torch."""

from __future__ import annotations

import msgspec

__all__ = ["FP32", "GRAPH_TIE", "Budget"]


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the gate; a value on the limit still passes.

    Attributes:
        pictures: At least so many pictures.
        anchors: At least so many anchors per picture, the best ones whatever their score.
        cosine: Least cosine between an output tensor and torch's.
        box_px: Greatest difference of a box side, in picture pixels.
        score: Greatest difference of a score.
        tie: Logits closer than this are near-ties: the order of two anchors or classes may swap.
        tie_score: Scores closer than this are near-ties as well: above 0 where probabilities come out of the graph,
            because float32 sigmoids differ by about 1e-7.
        mask_iou: Least mean IoU of the masks, over a picture.
        masks: At least so many masks that are not empty, over all pictures.
        focus: Greatest difference of a probability in the focus map.
    """

    pictures: int = 8
    anchors: int = 50
    cosine: float = 0.99999
    box_px: float = 0.05
    score: float = 1e-3
    tie: float = 1e-3
    tie_score: float = 0.0
    mask_iou: float = 0.99
    masks: int = 8
    focus: float = 1e-3


FP32 = Budget()
"""For float32 arithmetic, however the weights are stored."""

GRAPH_TIE = 1e-6
"""Scores are on a par within this where probabilities come out of a graph, which knows them to about 1e-7."""
