"""What an export notes about its variants: ``reports/precision.json``."""

from __future__ import annotations

import msgspec

from lineside.export.accuracy.report import Difference
from lineside.export.parity.budget import Budget

__all__ = ["MaskLoss", "PrecisionReport", "VariantReport"]


class MaskLoss(msgspec.Struct, frozen=True, kw_only=True):
    """What a variant loses against the FP32 model of the bundle, on labelled pictures.

    Attributes:
        fp32: mAP50-95 of the FP32 model, of masks, or of boxes where there are none.
        variant: The same of the variant.
        difference: Variant less FP32, with its interval by a paired bootstrap.
        aim: What it may lose.
        pictures: Pictures.
        objects: Objects in them.
        draws: Redrawn sets of pictures behind the interval.
    """

    fp32: float
    variant: float
    difference: Difference
    aim: float
    pictures: int
    objects: int
    draws: int


class VariantReport(msgspec.Struct, frozen=True, kw_only=True):
    """One variant.

    Attributes:
        name: Its name in the manifest.
        file: Its file.
        bytes: Size of the file.
        budget: How far it may be from the reference of the export's gate.
        cosine: Least cosine of an output with the reference, over the pictures of the gate.
        box_px: Greatest difference of a box side among the best anchors, picture px.
        score: Greatest difference of a score among them.
        mask_iou: Least mean IoU of the masks of a picture; None where there are none.
        computed: How it was computed for the proof.
        calibration: Where the pictures of the calibration come from, and how many there were; empty for FP16.
        loss: What it loses on labelled pictures; None where none were given.
    """

    name: str
    file: str
    bytes: int
    budget: Budget
    cosine: float
    box_px: float
    score: float
    mask_iou: float | None
    computed: str
    calibration: str = ""
    loss: MaskLoss | None = None


class PrecisionReport(msgspec.Struct, frozen=True, kw_only=True):
    """All variants of a bundle.

    Attributes:
        variants: One report each.
    """

    variants: tuple[VariantReport, ...]
