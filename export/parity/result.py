"""What the parity gate found: plain data, written to ``reports/parity.json``."""

from __future__ import annotations

from typing import Literal

import msgspec

from lineside.export.parity.budget import Budget

__all__ = ["AnchorMeasure", "Level", "MaskMeasure", "ParityReport", "PictureReport", "RawMeasure", "Verdict"]

Level = Literal["raw", "anchors", "masks", "focus"]


class RawMeasure(msgspec.Struct, frozen=True, kw_only=True):
    """One output tensor of one picture.

    Attributes:
        output: Its name in the head contract.
        cosine: Cosine of the angle between the two tensors as vectors.
        max_abs: Greatest difference of an element.
    """

    output: str
    cosine: float
    max_abs: float


class AnchorMeasure(msgspec.Struct, frozen=True, kw_only=True):
    """The best anchors of one picture.

    Attributes:
        compared: Anchors that both sides have.
        missing: Anchors that torch has among its best and the bundle has not, near-ties apart.
        added: The reverse.
        class_differs: Anchors with another class, near-ties apart.
        box_px: Greatest difference of a box side, in picture pixels.
        score: Greatest difference of a score.
        best_score: Torch's best score in the picture.
    """

    compared: int
    missing: int
    added: int
    class_differs: int
    box_px: float
    score: float
    best_score: float


class MaskMeasure(msgspec.Struct, frozen=True, kw_only=True):
    """Masks of the best anchors of one picture.

    Attributes:
        compared: Pairs of masks of which at least one is not empty.
        mean_iou: Mean IoU with torch's masks by the rule of the bundle format.
        min_iou: Least IoU.
        native_iou: Mean IoU of the best of them with ultralytics' ``process_mask_native``, which resamples twice; for
            information.
    """

    compared: int
    mean_iou: float
    min_iou: float
    native_iou: float


class PictureReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one picture.

    Attributes:
        picture: Name of the picture.
        image_size: Its height and width.
        input_max_abs: Greatest difference between the two input tensors, of values from 0 to 1.
        raw: One measure per output.
        anchors: The best anchors.
        masks: Their masks.
        focus: Greatest difference of a probability in the focus map; None for a model without one.
    """

    picture: str
    image_size: tuple[int, int]
    input_max_abs: float
    raw: tuple[RawMeasure, ...]
    anchors: AnchorMeasure
    masks: MaskMeasure
    focus: float | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One level of the gate, over all pictures.

    Attributes:
        level: Which level.
        passed: Whether every picture is within the budget.
        worst_picture: The picture that is furthest out, or nearest to the limit.
        reason: What is wrong with it; empty where the level passed.
    """

    level: Level
    passed: bool
    worst_picture: str
    reason: str = ""


class ParityReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole gate.

    Attributes:
        passed: Whether every level passed.
        reference: What the bundle was compared with.
        engine: What ran the bundle's graph.
        pictures_from: Where the pictures come from.
        budget: The limits.
        verdicts: One per level.
        pictures: One report per picture.
        rounding: Where weights were rounded to FP16: the same levels between rounded and unrounded torch, as the
            greatest difference of a score and of a box side (px) among the best anchors; for information.
        blind: Whether the model answered all pictures alike, so that nothing can be said about what it is given.
    """

    passed: bool
    reference: str
    engine: str
    pictures_from: str
    budget: Budget
    verdicts: tuple[Verdict, ...]
    pictures: tuple[PictureReport, ...]
    rounding: dict[str, float] = {}
    blind: bool = False
