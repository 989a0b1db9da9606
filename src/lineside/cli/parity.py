"""The report of the parity gate on a terminal."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineside.export.parity.result import ParityReport

__all__ = ["show_report"]

BLIND = (
    "warning: the model answers every picture alike, so the comparison says nothing about what it is given. Its weights "
    "are damaged or hardly trained: look at its accuracy before you use it"
)


def show_report(report: ParityReport, as_json: bool, facts: dict[str, Any]) -> None:
    """Prints a report of the parity gate, as JSON together with other facts, or as a table."""
    if report.blind:
        print(BLIND, file=sys.stderr)
    if as_json:
        from lineside.runtime.plain import plain

        print(json.dumps(facts | {"parity": plain(report)}))
        return
    from lineside.cli.tables import print_table

    rows = [
        [
            picture.picture,
            "x".join(map(str, picture.image_size)),
            f"{min(measure.cosine for measure in picture.raw):.7f}",
            f"{max(measure.max_abs for measure in picture.raw):.1e}",
            str(picture.anchors.compared),
            f"{picture.anchors.box_px:.1e}",
            f"{picture.anchors.score:.1e}",
            str(picture.anchors.class_differs),
            str(picture.masks.compared),
            f"{picture.masks.mean_iou:.5f}" if picture.masks.compared else "-",
            f"{picture.masks.native_iou:.5f}" if picture.masks.compared else "-",
        ]
        for picture in report.pictures
    ]
    columns = [
        "picture",
        "HxW",
        ">cosine",
        ">max diff",
        ">anchors",
        ">box px",
        ">score",
        ">class",
        ">masks",
        ">IoU",
        ">IoU native",
    ]
    print_table(f"Parity with {report.reference}", columns, rows)
    for verdict in report.verdicts:
        state = "ok" if verdict.passed else f"FAILED: {verdict.reason}"
        print(f"{verdict.level:8} {state} (worst picture: {verdict.worst_picture or '-'})")
    print(f"pictures: {report.pictures_from}")
    if report.rounding:
        print(
            f"storing the weights as FP16 moved scores by up to {report.rounding['score']:.1e} and boxes by up to "
            f"{report.rounding['box_px']:.1e} px against unrounded torch"
        )
