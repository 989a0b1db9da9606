"""The golden files on the engine under test: raw outputs, detections and masks, each held against what torch saw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import numpy.typing as npt

from lineside.runtime.bundle import list_golden
from lineside.runtime.selftest.findings import Finding, Line, Table, checked, failed, unchecked
from lineside.runtime.selftest.subject import Subject
from lineside.runtime.verify import GoldenResult, Tolerance, VerifyReport, verify_bundle

__all__ = ["check"]

RAW, DETECTIONS, MASKS = "raw outputs", "detections", "masks"


def check(subject: Subject) -> Iterator[Finding]:
    """Replays every golden file, and holds raw outputs against the processor's engine too."""
    if not list_golden(subject.bundle):
        for name in (RAW, DETECTIONS, MASKS):
            yield unchecked(name, "the bundle has no golden files: export it again")
        return
    report = verify_bundle(subject.bundle, subject.options.engine, subject.tolerance, precision=subject.variant)
    yield _raw(report)
    yield _detections(report)
    yield _masks(report)
    yield _beside_reference(subject)
    yield Table(
        title="Golden files",
        columns=("file", "expected", "found", "matched", "box px", "score", "mask IoU", "raw cosine", "verdict"),
        rows=tuple(
            (
                one.name,
                one.expected,
                one.found,
                one.matched,
                one.box_px,
                one.score,
                one.mask_iou,
                one.cosine,
                one.reason or "ok",
            )
            for one in report.golden
        ),
    )


def _raw(report: VerifyReport) -> Line:
    """Least cosine with recorded outputs."""
    cosines = [one.cosine for one in report.golden if one.cosine is not None]
    if not cosines:
        return unchecked(RAW, "no golden file holds raw outputs")
    least, limit = min(cosines), report.tolerance.cosine
    line = checked if least >= limit else failed  # NaN fails
    return line(RAW, f"least cosine with torch's {least:.7f}, at least {limit:g}", cosine=least, limit=limit)


def _detections(report: VerifyReport) -> Line:
    """Every detection there, and no other; boxes and scores in their limits."""
    limits = report.tolerance
    wrong = [one for one in report.golden if _reason(one, limits)]
    figures = {
        "box_px": max(one.box_px for one in report.golden),
        "score": max(one.score for one in report.golden),
        "expected": sum(one.expected for one in report.golden),
        "matched": sum(one.matched for one in report.golden),
    }
    if wrong:
        return failed(DETECTIONS, f"{wrong[0].name}: {_reason(wrong[0], limits)}", wrong=len(wrong), **figures)
    text = (
        f"{figures['expected']} in {len(report.golden)} pictures; boxes off by {figures['box_px']:.2g} px (at most "
        f"{limits.box_px:g}), scores by {figures['score']:.2g} (at most {limits.score:g})"
    )
    return checked(DETECTIONS, text, **figures)


def _reason(one: GoldenResult, limits: Tolerance) -> str:
    """What is wrong with the detections of one file, apart from masks and raw outputs."""
    of_masks = one.mask_iou is not None and not one.mask_iou >= limits.mask_iou
    of_outputs = one.cosine is not None and not one.cosine >= limits.cosine
    within = one.box_px <= limits.box_px and one.score <= limits.score
    if within and (of_masks or of_outputs) and one.matched == one.found:
        return ""
    return one.reason


def _masks(report: VerifyReport) -> Line:
    """Mean IoU of each picture's masks."""
    overlaps = [one.mask_iou for one in report.golden if one.mask_iou is not None]
    if not overlaps:
        return unchecked(MASKS, "the model has none, or nothing was found")
    least, limit = min(overlaps), report.tolerance.mask_iou
    line = checked if least >= limit else failed
    return line(MASKS, f"least mean IoU of a picture {least:.5f}, at least {limit:g}", iou=least, limit=limit)


def _beside_reference(subject: Subject) -> Line:
    """Raw outputs for every golden picture beside those of the processor's engine."""
    name = "raw outputs beside the CPU's"
    reference = subject.reference
    if reference is None:
        return unchecked(name, "onnxruntime is not installed or refuses the model: pip install 'lineside[cpu]'")
    cosines: list[float] = []
    manifest = subject.bundle.manifest
    with closing(subject.runner()) as runner:
        for golden in subject.golden:
            tensor = golden.pixels.transpose(2, 0, 1) * np.float32(1 / 255)
            batched = np.ascontiguousarray(np.broadcast_to(tensor, (manifest.input.batch, *tensor.shape)))
            pairs = zip(runner.infer({manifest.input.name: batched}), reference.infer(batched), strict=True)
            cosines += [cosine(mine, theirs) for mine, theirs in pairs]
    least, limit = min(cosines), subject.tolerance.cosine
    line = checked if least >= limit else failed
    return line(name, f"least cosine {least:.7f} over {len(cosines)} outputs, at least {limit:g}", cosine=least)


def cosine(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    """Cosine of two arrays seen as vectors, computed in float64; 1 for two that are all zeros, NaN where one holds NaN.

    Args:
        first: Any shape.
        second: As many numbers.
    """
    a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else float(np.array_equal(a, b))
