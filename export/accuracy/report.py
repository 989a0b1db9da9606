"""What a measurement of accuracy finds."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from lineside.runtime.errors import BadOption, SinkError
from lineside.runtime.plain import plain
from lineside.runtime.whole_file import write_whole

__all__ = ["AccuracyReport", "Difference", "Figures", "SizeFigures", "check_report_file", "write_report"]


class SizeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Objects of one range of sizes.

    Attributes:
        low: Lower end of the range: square root of the area in picture pixels.
        high: Upper end; null where there is none.
        objects: Number of objects.
        map50: AP at IoU 0.5, mean over the classes; null where there is no object.
        map50_95: Mean AP over IoU 0.5, 0.55 … 0.95.
    """

    low: float
    high: float | None
    objects: int
    map50: float
    map50_95: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How good boxes or masks of one model are.

    Attributes:
        map50: AP at IoU 0.5, mean over the classes.
        map50_95: Mean AP over IoU 0.5, 0.55 … 0.95.
        classes: ``[AP50, AP50-95]`` by class name; only classes that occur.
        sizes: By size of the object.
        boundary_f: For masks: mean boundary F over the objects that were found at IoU 0.5, by the distance in px.
        found: For masks: how many objects those are.
    """

    map50: float
    map50_95: float
    classes: dict[str, tuple[float, float]]
    sizes: tuple[SizeFigures, ...]
    boundary_f: dict[str, float] = {}
    found: int | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle's figure less torch's; for boundary F over the objects that both found.

    Attributes:
        value: The difference on the pictures as they are.
        low: Lower end of its interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


class AccuracyReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole measurement.

    Attributes:
        passed: Whether the bundle is not worse than torch beyond the margin; true where torch was not asked.
        reason: In words.
        bundle: Path of the bundle.
        engine: What ran it.
        data: Path of the ``data.yaml``.
        split: Which split.
        pictures: Number of pictures.
        empty: How many of them hold no object.
        objects: Number of objects.
        unseen: Objects that cover no pixel centre: counted as boxes, left out where masks are judged.
        conf: Detections with a score above this were judged.
        iou: Overlap beyond which the weaker box went.
        max_det: Most detections of a picture.
        figures: Of the bundle: ``box`` and, with masks, ``mask``.
        torch: The same of the weights through ultralytics' prediction on the same pictures; null without weights.
        validation: Ultralytics' own validation of the weights, by its own rules: ``mAP50`` and ``mAP50-95``.
        weights: Path of the weights; empty without.
        same_weights: Whether they have the hash that the bundle names; null where it names none.
        differences: By figure, such as ``mask mAP50-95``.
        margin: How much worse the bundle may surely be, in mAP50-95.
        draws: Redrawn sets of pictures behind each interval.
        seed: Seed of those draws.
        confidence: Share of the draws inside an interval.
    """

    passed: bool
    reason: str
    bundle: str
    engine: str
    data: str
    split: str
    pictures: int
    empty: int
    objects: int
    unseen: int
    conf: float
    iou: float
    max_det: int
    figures: dict[str, Figures]
    torch: dict[str, Figures] | None = None
    validation: dict[str, dict[str, float]] | None = None
    weights: str = ""
    same_weights: bool | None = None
    differences: dict[str, Difference] = {}
    margin: float
    draws: int
    seed: int
    confidence: float = 0.95


def check_report_file(out: Path, bundle: Path) -> None:
    """Says early that a report cannot go where it shall go.

    Args:
        out: File for the report.
        bundle: The bundle that is measured.

    Raises:
        BadOption: The folder is not there, `out` is a folder, or it lies in the bundle, whose hashes are fixed.
    """
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise BadOption(f"--report {out}: give the name of a file in a folder that exists")
    if out.resolve().is_relative_to(bundle.resolve()):
        raise BadOption(
            f"--report {out} lies in the bundle, and its hashes would no longer be right: name another place"
        )


def write_report(report: AccuracyReport, out: Path) -> None:
    """Writes a report as JSON, whole or not at all; what is no number (NaN) becomes null.

    Raises:
        SinkError: The disk says no.
    """
    text = json.dumps(plain(report), indent=2) + "\n"
    try:
        write_whole(out, text.encode())
    except OSError as error:
        raise SinkError(
            f"the report cannot be written to '{out}' ({error.strerror}): check the disk and the rights"
        ) from error
