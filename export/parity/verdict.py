"""From measures to verdicts: which level fails, on which picture, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lineside.export.parity.budget import Budget
from lineside.export.parity.result import Level, PictureReport, Verdict

__all__ = ["judge"]

Finding = tuple[float, str]
"""How far out a picture is (above 1 it fails), and why."""


def judge(
    reports: Sequence[PictureReport], budget: Budget, masks: bool = True, focus: bool = False
) -> tuple[Verdict, ...]:
    """Judges every level.

    Args:
        reports: One per picture.
        budget: The limits.
        masks: The model has masks; without them that level is left out.
        focus: The model has a focus map, else that level is left out.

    Returns:
        One verdict per level, in the order raw, anchors, masks, focus. Too few pictures, or nothing to compare, fails.
    """
    checks: dict[Level, Callable[[PictureReport, Budget], Finding]] = {
        "raw": _raw,
        "anchors": _anchors,
    }
    if masks:
        checks["masks"] = _masks
    if focus:
        checks["focus"] = _focus
    return tuple(_level(level, check, reports, budget) for level, check in checks.items())


def _level(
    level: Level, check: Callable[[PictureReport, Budget], Finding], reports: Sequence[PictureReport], budget: Budget
) -> Verdict:
    """The verdict over all pictures is that of the worst one."""
    if len(reports) < budget.pictures:
        reason = f"only {len(reports)} pictures were compared and the budget asks for {budget.pictures}"
        return Verdict(level=level, passed=False, worst_picture="", reason=reason)
    reason = _nothing(level, reports, budget)
    if reason:
        return Verdict(level=level, passed=False, worst_picture=reports[0].picture, reason=reason)
    findings = [(*check(report, budget), report.picture) for report in reports]
    excess, reason, picture = max(findings, key=lambda finding: finding[0])
    passed = excess <= 1
    return Verdict(level=level, passed=passed, worst_picture=picture, reason="" if passed else reason)


def _nothing(level: Level, reports: Sequence[PictureReport], budget: Budget) -> str:
    """Why there is too little to compare over all pictures; empty where there is enough."""
    if level == "masks" and sum(report.masks.compared for report in reports) < budget.masks:
        return f"fewer than {budget.masks} masks are not empty, so there is nothing to compare"
    if level == "anchors" and sum(report.anchors.compared for report in reports) < budget.pictures:
        return f"fewer than {budget.pictures} anchors have a score above 0, so there is nothing to compare"
    return ""


def _over(value: float, limit: float) -> float:
    """Share of a limit that a value uses up; infinity where it is not a number."""
    if not value >= 0:
        return float("inf")
    if limit <= 0:
        return float("inf") if value > 0 else 0.0
    return value / limit


def _raw(report: PictureReport, budget: Budget) -> Finding:
    if not report.raw:
        return float("inf"), "there was no output to compare"
    worst = max(report.raw, key=lambda measure: _over(1 - measure.cosine + 1e-18, 1 - budget.cosine))
    excess = _over(max(0.0, 1 - worst.cosine) if worst.cosine == worst.cosine else float("nan"), 1 - budget.cosine)
    return excess, (
        f"output {worst.output} has cosine {worst.cosine:.6f} with the reference (at least {budget.cosine:g}), "
        f"greatest difference {worst.max_abs:.3g}; the inputs differ by up to {report.input_max_abs:.3g}"
    )


def _anchors(report: PictureReport, budget: Budget) -> Finding:
    found = report.anchors
    if found.compared < budget.anchors:
        return float("inf"), f"only {found.compared} anchors were compared and the budget asks for {budget.anchors}"
    if not found.compared:
        return 0.0, ""
    if found.missing or found.added:
        wrong = max(found.missing, found.added)
        return 1e6 + wrong, f"{wrong} of its best {found.compared} anchors are not the reference's"
    if found.class_differs:
        return 1e6 + found.class_differs, f"{found.class_differs} of {found.compared} anchors have another class"
    box, score = _over(found.box_px, budget.box_px), _over(found.score, budget.score)
    if box >= score:
        return box, f"a box is off by {found.box_px:.3g} px (at most {budget.box_px:g})"
    return score, f"a score is off by {found.score:.3g} (at most {budget.score:g})"


def _masks(report: PictureReport, budget: Budget) -> Finding:
    found = report.masks
    if not found.compared:  # both sides say that there is nothing; the level asks for masks over all pictures
        return 0.0, ""
    return _over(1 - found.mean_iou, 1 - budget.mask_iou), (
        f"the masks have mean IoU {found.mean_iou:.4f} with the reference (at least {budget.mask_iou:g})"
    )


def _focus(report: PictureReport, budget: Budget) -> Finding:
    if report.focus is None:
        return float("inf"), "there was no focus map to compare"
    return _over(report.focus, budget.focus), (
        f"a probability of the focus map is off by {report.focus:.3g} (at most {budget.focus:g})"
    )
