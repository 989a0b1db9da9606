"""The tables of ``lineside verify --data``, on stdout."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lineside.cli.tables import print_table

if TYPE_CHECKING:
    from lineside.export.accuracy.report import AccuracyReport, Figures

__all__ = ["print_accuracy"]

SHOWN = 20
"""Classes that the table names; the report file names all."""


def print_accuracy(report: AccuracyReport) -> None:
    """Prints what was measured: figures by kind, class and size, differences from torch, and the verdict."""
    pictures = f"{report.pictures} pictures of {report.data} ({report.split}), {report.objects} objects"
    if report.torch is None:
        print_table(f"accuracy on {pictures}", ["figure", ">runtime"], _rows(report))
    else:
        columns = ["figure", ">runtime", ">torch", ">difference", "95 % interval", ">torch's own validation"]
        print_table(f"accuracy on {pictures}", columns, _rows(report))
    print(_notes(report))
    print(report.reason)


def _rows(report: AccuracyReport) -> list[list[str]]:
    """A row per figure; torch's columns only where torch looked."""
    rows = []
    for kind, ours in report.figures.items():
        theirs = report.torch[kind] if report.torch else None
        own = report.validation.get(kind, {}) if report.validation else {}
        for name, value, other in _figures(ours, theirs):
            row = [f"{kind} {name}", _number(value)]
            if report.torch is not None:
                delta = report.differences.get(f"{kind} {name}")
                row += [
                    _number(other),
                    "" if delta is None else f"{delta.value:+.4f}",
                    "" if delta is None else f"{delta.low:+.4f} … {delta.high:+.4f}",
                    _number(own[name]) if name in own else "",
                ]
            rows.append(row)
    return rows


def _figures(ours: Figures, theirs: Figures | None) -> list[tuple[str, float, float]]:
    """Name and value of each figure, and torch's beside it (NaN without torch)."""
    none = math.nan
    rows = [
        ("mAP50", ours.map50, theirs.map50 if theirs else none),
        ("mAP50-95", ours.map50_95, theirs.map50_95 if theirs else none),
    ]
    for index, size in enumerate(ours.sizes):
        if size.high is None:
            name = f"> {size.low:g} px"
        else:
            name = f"{size.low:g}-{size.high:g} px" if size.low else f"< {size.high:g} px"
        name = f"mAP50-95, {name} ({size.objects} objects)"
        rows.append((name, size.map50_95, theirs.sizes[index].map50_95 if theirs else none))
    if len(ours.classes) > 1:
        for label, (_, value) in list(ours.classes.items())[:SHOWN]:
            rows.append((f"mAP50-95, class {label}", value, theirs.classes[label][1] if theirs else none))
    for distance, value in ours.boundary_f.items():
        rows.append((f"boundary F {distance} px", value, theirs.boundary_f[distance] if theirs else none))
    return rows


def _notes(report: AccuracyReport) -> str:
    """What the figures mean, in words."""
    text = (
        f"judged by pycocotools: score above {report.conf:g}, IoU {report.iou:g}, at most {report.max_det} a picture; "
        f"{report.empty} pictures hold no object; sizes are square roots of areas"
    )
    if "mask" in report.figures:
        text += f"; boundary F of the {report.figures['mask'].found} objects found at IoU 0.5"
    if report.unseen:
        text += f"; {report.unseen} objects cover no pixel centre, and only their boxes count"
    if report.torch is not None:
        text += (
            f"; intervals from {report.draws} redrawn sets of pictures, boundary F compared on the objects that both "
            "found; torch's own validation has other rules (pictures padded less, masks at a quarter of the resolution)"
        )
    if report.same_weights is False:
        text += f"\nnote: {report.weights} is not the file that this bundle was exported from"
    return text


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
