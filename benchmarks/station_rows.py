"""The figures of ``station.py`` as rows of a table; each says how many samples or rounds it stands on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from report import LOOP, LOOP_CPU, Row, RowsOf

IDLE_MS = 1.0
AGGREGATE = 0.95
OTHERS = 0.97
"""Share of their rate that three cameras keep beside one that is dead or slow, whose own frames count: what the measurement
can tell from all of it."""
RSS_MB = 1.0


def line_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """One camera beside the engine alone, and the time to the start of a run."""
    rounds = f"n = {figures['rounds']} rounds"
    for name, found in figures["bundles"].items():
        rate = found["rate"]
        yield Row(
            f"one raw 1080p source, {name} ({rounds})",
            "engine alone",
            f"{rate['loop_fps']:.1f} fps",
            f"{rate['engine_fps']:.1f} fps",
            "{:.3f} of the rate ({:.3f} to {:.3f})".format(rate["ratio"], *rate["ratio_interval"]),
            f">= {LOOP}",
            rate["ratio"] >= LOOP,
        )
        more = rate["cpu_over_engine"]
        yield Row(
            f"one raw 1080p source, {name}: processor per frame ({rounds})",
            "engine alone",
            f"{rate['loop_cpu_ms']:.1f} ms",
            f"{rate['engine_cpu_ms']:.1f} ms",
            "{:+.1%} ({:+.1%} to {:+.1%})".format(more, *rate["cpu_interval"]),
            f"<= {LOOP_CPU:+.0%}",
            more <= LOOP_CPU,
        )
        yield _idle(f"capture to engine start, {name}, engine idle", found["idle"]["engine"])
        yield _idle(f"the same through the watchdog of a camera, {name}", found["idle_watched"]["engine"])


def _idle(what: str, spans: dict[str, float]) -> Row:
    return Row(
        f"{what}: p99 (n = {spans['count']})",
        "-",
        f"{spans['p99']:.2f} ms",
        "",
        f"p50 {spans['p50']:.2f} ms, max {spans['max']:.2f} ms",
        f"<= {IDLE_MS:g} ms",
        spans["p99"] <= IDLE_MS,
    )


def sources_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """Several sources beside one, and three cameras beside a fourth."""
    rounds = f"n = {figures['rounds']} rounds of {figures['seconds']:g} s"
    alone, *several = figures["aggregate"].items()
    for count, found in several:
        yield Row(
            f"{count} sources together, one engine ({rounds})",
            f"{alone[0]} source",
            f"{found['fps']:.1f} fps",
            f"{alone[1]['fps']:.1f} fps",
            f"{found['ratio']:.3f} of the rate ({_between(found)}), least {found['least'] * int(count):.2f} of a fair share",
            f">= {AGGREGATE}",
            found["ratio"] >= AGGREGATE,
        )
    none = figures["fourth"]["none"]
    for kind, found in figures["fourth"].items():
        if kind == "none":
            continue
        judged = kind in ("dead", "slow")
        yield Row(
            f"three cameras beside a {kind} one ({rounds})",
            "the three alone",
            f"{found['fps']:.1f} fps, p99 {found['p99_ms']:.0f} ms; its own {found['own']:.1f} fps",
            f"{none['fps']:.1f} fps, p99 {none['p99_ms']:.0f} ms",
            f"{found['ratio']:.3f} of the rate, {found['kept']:.3f} ({_between(found)}) with its own",
            f">= {OTHERS} with its own" if judged else "",
            found["kept"] >= OTHERS if judged else None,
        )


def _between(found: dict[str, Any]) -> str:
    """The 95 % interval of a median."""
    return "{:.3f} to {:.3f}".format(*found["interval"])


def soak_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """Growth of a long run."""
    steady = figures["steady"]
    for key, what in (("rss", "memory"), ("own", "memory without pages of files")):
        growth = figures[f"{key}_per_million"]
        most, judged = growth["mb"] + growth["half"], key == "rss"
        yield Row(
            f"{what} per 10^6 frames, {figures['frames']} frames (n = {figures['blocks']} means of {figures['samples']})",
            "-",
            f"{growth['mb']:+.2f} MB",
            "",
            f"95 % interval {growth['mb'] - growth['half']:+.2f} to {most:+.2f} MB; "
            f"others used {figures['others']:.0%} of the machine",
            f"<= {RSS_MB:g} MB" if judged else "",
            most <= RSS_MB if judged else None,
        )
    for key in ("threads", "descriptors", "waiting"):
        least, highest = steady[key]
        what = "frames in all queues" if key == "waiting" else key
        yield Row(
            f"{what} meanwhile (n = {figures['samples']})", "-", f"{least:.0f} to {highest:.0f}", "", "", main=False
        )


def tails_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """Every control beside none."""
    for circumstance, found in figures["circumstances"].items():
        where = "quiet machine" if circumstance == "quiet" else "busy neighbours"
        none = found["off"]["ms"]
        for name, one in found.items():
            if name == "off":
                continue
            ms, refused = one["ms"], one["refused"]
            ratio = "" if one["p99_ratio"] is None else f"{one['p99_ratio']:.2f} of its p99"
            yield Row(
                f"{name} on, {where}: p99 / p99.9 / max (n = {ms['count']})",
                f"off (n = {none['count']})",
                _tail(ms),
                _tail(none),
                "; ".join(refused) if refused else ratio,
                main=False,
            )


def _tail(ms: dict[str, float]) -> str:
    return " / ".join(f"{ms[key]:.1f}" for key in ("p99", "p999", "max")) + " ms" if ms["count"] else "-"


def beside_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """Every program: rate and age of its pictures, and what a freeze did."""
    programs = figures["programs"]
    ours = programs.get("lineside")
    for name, found in programs.items():
        runs = found["rounds"]
        age = found["age_ms"]
        ages = f"age p50 {age['p50']:.0f}, p99 {age['p99']:.0f} ms" if age else "no age"
        yield Row(
            f"30 fps camera, slower model (n = {found['count']} results, {len(runs)} rounds)",
            "-" if found is ours else name,
            _rate(ours) if ours else "",
            "" if found is ours else _rate(found),
            ages,
        )
    for name, found in programs.items():
        freezes = [run["freeze"] for run in found["rounds"]]
        yield Row(
            f"the camera freezes for {freezes[0]['seconds']:.0f} s (n = {len(freezes)})",
            name,
            "",
            "",
            "; ".join(dict.fromkeys(map(_freeze, freezes))),
        )


def _rate(found: dict[str, Any]) -> str:
    return f"{found['fps']:.1f} fps"


def _freeze(one: dict[str, Any]) -> str:
    """What a freeze did, in words."""
    told = "said nothing" if one["told_s"] is None else f"said so after {one['told_s']:.1f} s"
    if one["gone"] is not None:
        return f"{told}; ended (exit code {one['gone']})"
    old = f"; {one['results']} results of old pictures meanwhile" if one["results"] else ""
    back = "no fresh picture any more" if one["fresh_s"] is None else f"fresh again after {one['fresh_s']:.1f} s"
    oldest = "" if one["oldest_s"] is None else f"; oldest picture looked at: {one['oldest_s']:.1f} s"
    return f"{told}; {back}{old}{oldest}"


ROWS: RowsOf = {
    "line": line_rows,
    "sources": sources_rows,
    "soak": soak_rows,
    "tails": tails_rows,
    "beside": beside_rows,
}
