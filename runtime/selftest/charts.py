"""Values over time as SVG, for the page of a report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lineside.runtime.selftest.findings import Sample

__all__ = ["CHARTS", "chart"]

CHARTS = {" C": "Temperatures over time", " MHz": "Clocks over time", " MB": "Memory over time"}
"""Units in the trace, and what their chart is called."""

FREE = "free MB"
"""What the whole machine has left would flatten every other curve; a line of the report tells its least."""

COLOURS = ("#2f6fde", "#d9822b", "#1a9e77", "#b0478f", "#7a6ff0", "#c0392b", "#5f8a1f", "#00838f")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 1000, 220, 64, 26, 12


def chart(samples: Sequence[Sample], unit: str) -> str:
    """Every series of one unit in one picture, with its key; empty where there is none.

    Args:
        samples: The trace.
        unit: A key of `CHARTS`.
    """
    names = sorted({name for one in samples for name in one.values if name.endswith(unit)} - {FREE})
    series = {name: [(one.seconds, one.values[name]) for one in samples if name in one.values] for name in names}
    series = {name: points for name, points in series.items() if len(points) > 1}
    if not series:
        return ""
    highest = max(value for points in series.values() for _, value in points) or 1.0
    last = max(seconds for points in series.values() for seconds, _ in points) or 1.0
    lines = "".join(
        f'<polyline fill="none" stroke="{COLOURS[at % len(COLOURS)]}" stroke-width="2" '
        f'points="{_points(points, last, highest)}"/>'
        for at, points in enumerate(series.values())
    )
    keys = "".join(
        f'<span><i style="background:{COLOURS[at % len(COLOURS)]}"></i>{escape(name.removesuffix(unit))} '
        f"{min(v for _, v in points):.0f} to {max(v for _, v in points):.0f}{escape(unit)}</span>"
        for at, (name, points) in enumerate(series.items())
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(CHARTS[unit])}">'
        f"{_axes(last, highest, unit)}{lines}</svg>"
        f'<div class="keys">{keys}</div>'
    )


def _points(points: Sequence[tuple[float, float]], last: float, highest: float) -> str:
    return " ".join(f"{_x(seconds, last):.1f},{_y(value, highest):.1f}" for seconds, value in points)


def _axes(last: float, highest: float, unit: str) -> str:
    """Four lines across with their values, and the time below."""
    parts = []
    for step in range(5):
        value = highest * step / 4
        y = _y(value, highest)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - 10}" stroke="currentColor" stroke-opacity="0.15"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.0f}{escape(unit)}</text>')
    for step in range(5):
        seconds = last * step / 4
        anchor = "end" if step == 4 else "middle"
        parts.append(
            f'<text x="{_x(seconds, last):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{seconds:.0f} s</text>'
        )
    return "".join(parts)


def _x(seconds: float, last: float) -> float:
    return LEFT + (WIDTH - 10 - LEFT) * seconds / last


def _y(value: float, highest: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * max(0.0, value) / highest
