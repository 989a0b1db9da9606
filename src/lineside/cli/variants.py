"""Tables of a bundle's variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lineside.export.precision.report import MaskLoss, PrecisionReport

__all__ = ["print_variants"]


def print_variants(report: PrecisionReport) -> None:
    """Prints a row per variant: how near it is to the reference, and what it loses on labelled pictures."""
    from lineside.cli.tables import print_table, size_text

    rows = [
        [
            it.name,
            size_text(it.bytes),
            f"{it.cosine:.6f}",
            f"{it.box_px:.2g}",
            f"{it.score:.2g}",
            "-" if it.mask_iou is None else f"{it.mask_iou:.4f}",
            _loss(it.loss),
        ]
        for it in report.variants
    ]
    columns = ["variant", ">size", ">cosine", ">box px", ">score", ">mask IoU", "points of mAP50-95 against FP32"]
    print_table("Other precisions, against the same reference", columns, rows)
    for calibration in dict.fromkeys(it.calibration for it in report.variants if it.calibration):
        print(f"INT8 calibrated on {calibration}")


def _loss(loss: MaskLoss | None) -> str:
    if loss is None:
        return "not measured (give --data)"
    it = loss.difference
    return f"{100 * it.value:+.2f} ({100 * it.low:+.2f} to {100 * it.high:+.2f}), {loss.pictures} pictures"
