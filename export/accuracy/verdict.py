"""Says whether a bundle is worse than torch."""

from __future__ import annotations

from collections.abc import Mapping

from lineside.export.accuracy.report import Difference

__all__ = ["LEAST_PICTURES", "judge_differences"]

LEAST_PICTURES = 10
"""Fewer pictures say nothing of how figures vary from one set to the next."""

DECIDES = "mAP50-95"


def judge_differences(
    differences: Mapping[str, Difference], margin: float, pictures: int, objects: int
) -> tuple[bool, str]:
    """Judges by the mAP50-95 of boxes and of masks.

    A bundle fails when it is surely worse by more than the margin: when the whole interval of a difference lies below
    minus the margin. Nothing else fails it, so that a small set, whose intervals are wide, does not.

    Args:
        differences: The bundle's figures less torch's; empty where torch was not asked.
        margin: In mAP50-95.
        pictures: Number of pictures.
        objects: Number of objects.

    Returns:
        Whether it passes, and why, in words.
    """
    if not objects:
        return True, "no verdict: the pictures hold no object"
    if not differences:
        return True, "no verdict: without --weights there is nothing to compare with"
    if pictures < LEAST_PICTURES:
        return True, f"no verdict: {pictures} pictures are too few for an interval (at least {LEAST_PICTURES})"
    deciding = {name: it for name, it in differences.items() if name.endswith(DECIDES)}
    for name, it in deciding.items():
        if it.high < -margin:
            return False, (
                f"{name} is surely worse than torch's: {it.value:+.4f}, and at best {it.high:+.4f} "
                f"(allowed: {-margin:+.4f})"
            )
    shown = ", ".join(f"{name} {it.value:+.4f} [{it.low:+.4f}, {it.high:+.4f}]" for name, it in deciding.items())
    return True, f"not surely worse than torch by more than {margin:g}: {shown}"
