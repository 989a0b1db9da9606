"""The gate itself: every level on every picture, then the verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from lineside.export.parity.anchors import compare_anchors
from lineside.export.parity.apart import Apart
from lineside.export.parity.budget import Budget
from lineside.export.parity.masks import compare_masks
from lineside.export.parity.raw import compare_focus, compare_raw
from lineside.export.parity.reference import Reference
from lineside.export.parity.result import ParityReport, PictureReport
from lineside.export.parity.rows import follow, parts_of
from lineside.export.parity.shipped import Shipped, View
from lineside.export.parity.verdict import judge
from lineside.export.pictures import Picture
from lineside.runtime.contract import HeadContract

__all__ = ["ANCHORS", "compare", "run_gate"]

ANCHORS = 64
"""Anchors compared per picture: some more than the budget asks for."""


def run_gate(
    shipped: Shipped,
    reference: Reference,
    head: HeadContract,
    pictures: Sequence[Picture],
    budget: Budget,
    *,
    described: str,
    pictures_from: str,
    progress: Callable[[int], None] | None = None,
) -> ParityReport:
    """Compares a bundle with torch.

    Args:
        shipped: The bundle.
        reference: What it must agree with.
        head: Head contract of the bundle.
        pictures: What to look at.
        budget: How far the two may be apart.
        described: What the reference is, in words.
        pictures_from: Where the pictures come from, in words.
        progress: Called with the number of pictures done.

    Returns:
        The report; its verdicts say whether the gate is passed.

    Raises:
        NonFiniteOutput: The bundle's outputs hold NaN or infinity.
    """
    reports: list[PictureReport] = []
    apart = Apart()
    for start in range(0, len(pictures), shipped.batch):
        group = pictures[start : start + shipped.batch]
        views = shipped.look([picture.frame for picture in group])
        for picture, view in zip(group, views, strict=True):
            reports.append(compare(picture, view, shipped, reference, head, budget))
            apart.see(view.outputs)
            if progress:
                progress(len(reports))
    verdicts = judge(reports, budget, masks=head.coefficients > 0, focus=head.focus > 0)
    return ParityReport(
        passed=all(verdict.passed for verdict in verdicts),
        reference=described,
        engine=shipped.name,
        pictures_from=pictures_from,
        budget=budget,
        verdicts=verdicts,
        pictures=tuple(reports),
        blind=apart.blind(reports),
    )


def compare(
    picture: Picture, view: View, shipped: Shipped, reference: Reference, head: HeadContract, budget: Budget
) -> PictureReport:
    """Compares one picture on all levels."""
    seen = reference(picture.frame)
    raw = dict(zip(head.output_names, view.outputs, strict=True))
    if seen.final:
        name = head.output_names[0]
        seen = follow(raw[name][0], seen)
        raw = {**parts_of(name, raw[name]), **raw}
        seen = dataclasses.replace(seen, raw={**parts_of(name, seen.raw[name]), **seen.raw})
    found = shipped.best(view, max(ANCHORS, budget.anchors))
    tensor = seen.pixels.transpose(2, 0, 1).astype(np.float32) / 255
    return PictureReport(
        picture=picture.name,
        image_size=seen.placement.image_size,
        input_max_abs=float(np.abs(view.tensor - tensor).max()),
        raw=compare_raw(raw, seen.raw),
        anchors=compare_anchors(found, seen, budget),
        masks=compare_masks(found, seen),
        focus=compare_focus(raw["focus"], seen.raw["focus"]) if head.focus else None,
    )
