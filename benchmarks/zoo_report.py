"""Writes the tables of ``docs/zoo.md`` and the plot beside it from measured figures; measures nothing itself.

usage: lineside zoo --json > benchmarks/results/zoo.json
       python benchmarks/zoo_report.py          writes docs/zoo.md and, where models were trained, docs/zoo.png

Figures of accuracy come from ``configs/models/trained.json`` (``benchmarks/zoo_train.py``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "zoo.json"
TRAINED = REPOSITORY / "configs" / "models" / "trained.json"
DOCUMENT = REPOSITORY / "docs" / "zoo.md"
PLOT = "zoo.png"
BASE, QUARTER, COMBINED = "base", "base-quarter", "edge"

FIGURES = {"mask_map": "mask mAP50-95", "small_ap": "AP of small ones", "boundary_f": "boundary F"}
"""Figures of accuracy and their headings."""

AIM, ALLOWED = 1.0, 1.05
"""Points of mask mAP50-95 above the base, and times its latency, from which on a model would be the better default."""


CROWDED = 0.02
"""Latencies closer than this share a column of names in the plot."""


def costs(zoo: Mapping[str, Any]) -> str:
    """What every model costs, as a Markdown table.

    Args:
        zoo: What ``lineside zoo --json`` printed.
    """
    rows = [
        [
            called(entry["name"]),
            f"{entry['parameters'] / 1e6:.3f} M",
            f"{entry['gflops']:.2f}",
            str(entry["nodes"]),
            f"{entry['bytes'] / 1e6:.2f}",
            ", ".join(f"`{op}`" for op in entry["custom_ops"]),
            f"{entry['latency_ms']:.1f}",
            f"{entry['relative']:.2f}",
        ]
        for entry in zoo["entries"]
    ]
    return markdown(["model", "parameters", "GFLOPs", "nodes", "MB", "custom ops<", "ms", "× base"], rows)


def gains(trained: Mapping[str, Any]) -> str:
    """What every model reaches after the same training, best first, as a Markdown table.

    Args:
        trained: What ``benchmarks/zoo_train.py`` wrote.
    """
    rows = []
    for name, entry in sorted(trained["entries"].items(), key=lambda item: -item[1]["mask_map"]["mean"]):
        rows.append(
            [
                called(name),
                str(len(entry["seeds"])),
                *(f"{100 * entry[figure]['mean']:.1f}" for figure in FIGURES),
                gain(entry["mask_map"], "over_base_seeds_ci"),
                gain(entry["small_ap"], "over_base_seeds_ci"),
                gain(entry["boundary_f"], "over_base_seeds_ci"),
                f"{entry['latency']['of_base']:.2f}",
            ]
        )
    heads = ["model", "runs", *FIGURES.values(), "over the base", "small ones", "boundary", "× base"]
    return markdown(heads, rows)


def verdict(trained: Mapping[str, Any]) -> str:
    """Whether `edge` is what it was made to be, which others are, and what the default is then, in plain words."""
    asked = f"at least {AIM} points of mask mAP50-95 above the base at no more than {ALLOWED} times its latency"
    tried = {name: entry for name, entry in trained["entries"].items() if name not in (BASE, QUARTER)}
    better = [name for name, entry in tried.items() if large(entry) and sure(entry) and quick(entry)]
    said = [f"The aim was an `edge` model {asked}, with an interval that leaves out 0."]
    if COMBINED in tried:
        edge = tried[COMBINED]
        said.append(
            f"It is {gain(edge['mask_map'], 'over_base_seeds_ci')} points at {edge['latency']['of_base']:.2f} times: "
            f"{'reached' if COMBINED in better else 'not reached'}."
        )
    others = [called(name) for name in better if name != COMBINED]
    said.append(f"{'Of the others' if others else 'No other model'} is so{': ' if others else ''}{', '.join(others)}.")
    said.append("The default stays the base." if COMBINED not in better else "For small defects, start from `edge`.")
    return " ".join(said)


def large(entry: Mapping[str, Any]) -> bool:
    """Whether a model is so many points above the base, in the mean."""
    return float(100 * entry["mask_map"]["over_base"]) >= AIM


def sure(entry: Mapping[str, Any]) -> bool:
    """Whether the interval of its difference leaves out 0."""
    return float(entry["mask_map"].get("over_base_seeds_ci", [-1.0])[0]) > 0


def quick(entry: Mapping[str, Any]) -> bool:
    """Whether it is hardly slower than the base."""
    return float(entry["latency"]["of_base"]) <= ALLOWED


def called(name: str) -> str:
    """A model's name as it is written in a table."""
    return {BASE: BASE, QUARTER: "base, masks at a quarter"}.get(name, f"`{name}`")


def gain(figure: Mapping[str, Any], interval: str) -> str:
    """A difference in points with its interval; nothing for the base."""
    if "over_base" not in figure:
        return ""
    ends = figure.get(interval)
    return f"{100 * figure['over_base']:+.1f}" + (f" ({100 * ends[0]:+.1f} to {100 * ends[1]:+.1f})" if ends else "")


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; numbers stand on the right, the first column and headings with ``<`` on the left."""
    lines = [" --- " if not index or head.endswith("<") else " ---: " for index, head in enumerate(heads)]
    head = [head.removesuffix("<") for head in heads]
    return "\n".join(
        [
            *(f"| {' | '.join(row)} |" for row in [head]),
            f"|{'|'.join(lines)}|",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
    )


def conditions(zoo: Mapping[str, Any]) -> str:
    """Where and how it was measured, in a sentence or two."""
    machine, size = zoo["machine"], "x".join(map(str, zoo["imgsz"]))
    text = (
        f"YOLO11{zoo['scale']}-seg, 80 classes, input {size}, {machine['threads']} threads of {machine['processor']}, onnxruntime "
        f"{machine['onnxruntime']}, torch {machine['torch']}. Medians of {zoo['rounds']} rounds in which every model runs once, "
        "in a new order each; “× base” is the median of the ratios within a round."
    )
    foreign = machine["foreign_load"]
    if foreign > 0.1:
        text += (
            f" Other processes used {foreign:.0%} of the machine meanwhile: the milliseconds are far too high, and the ratios are "
            "uncertain by a tenth or two."
        )
    return text


def training(trained: Mapping[str, Any]) -> str:
    """How the models were trained and judged, in a few sentences."""
    budget = trained["budget"]
    text = (
        f"{budget['train']} drawn pictures of {budget['task']}s at {budget['size']}x{budget['size']}, {budget['epochs']} epochs "
        f"from random weights, then {trained['pictures']} fresh ones with {trained['objects']} defects, "
        f"{trained['small_objects']} of them small (below {trained['small_below_px']:.0f} px). Figures times 100. Intervals hold "
        f"95 % and know both chances: other pictures ({trained['draws']} paired draws) and other seeds"
    )
    spread = trained["seed_spread"].get("mask_map")
    text += f" (of one model they lie {100 * spread:.1f} points apart, one standard deviation). " if spread else ". "
    return f"{text}“Small ones” and “boundary” are over the base too. “× base” is the engine's time at that size on one thread."


def plot(trained: Mapping[str, Any], path: Path) -> None:
    """Draws accuracy against latency, one point per trained model with its interval.

    A model that has learned next to nothing is named below the axes: drawn to scale it would leave the others one spot.

    Args:
        trained: What ``benchmarks/zoo_train.py`` wrote.
        path: The picture to write.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    entries = trained["entries"]
    least = 0.5 * entries[BASE]["mask_map"]["mean"]
    shown = {name: entry for name, entry in entries.items() if entry["mask_map"]["mean"] >= least}
    figure, axes = pyplot.subplots(figsize=(8, 5.5), dpi=120)
    for name, entry in shown.items():
        latency, accuracy = entry["latency"]["of_base"], entry["mask_map"]
        mean, interval = 100 * accuracy["mean"], [100 * end for end in accuracy["ci"]]
        colour = "black" if name == BASE else "tab:red" if name == COMBINED else "tab:blue"
        axes.errorbar(
            [latency], [mean], yerr=[[mean - interval[0]], [interval[1] - mean]], fmt="none", color=colour, alpha=0.5
        )
        axes.plot([latency] * len(entry["seeds"]), [100 * it for it in accuracy["by_seed"]], "_", color=colour, ms=9)
        axes.plot([latency], [mean], "o", color=colour, ms=5)
    points = {name: (entry["latency"]["of_base"], 100 * entry["mask_map"]["mean"]) for name, entry in shown.items()}
    for name, place in labels(points).items():
        line = {"arrowstyle": "-", "color": "grey", "linewidth": 0.6}
        axes.annotate(name, points[name], xytext=place, va="center", fontsize=9, arrowprops=line)
    missing = ", ".join(
        f"{name} {100 * entries[name]['mask_map']['mean']:.1f}" for name in entries if name not in shown
    )
    size = trained["budget"]["size"]
    axes.axvline(ALLOWED, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel(
        f"latency in onnxruntime, times the base (input {size}x{size}, one thread)"
        + (f"\nnot shown: {missing}" if missing else "")
    )
    axes.set_ylabel("mask mAP50-95 on fresh pictures, times 100\n(bars: other pictures; dashes: single runs)")
    axes.margins(x=0.1)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)


def labels(points: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Where the names stand: right of their points, those of one crowd in a column without touching each other.

    Args:
        points: Latency and accuracy by name.
    """
    heights = [height for _, height in points.values()]
    step = max(0.05 * (max(heights) - min(heights)), 1e-3) * 1.6
    crowds: list[list[str]] = []
    for name in sorted(points, key=lambda name: points[name][0]):
        if crowds and points[name][0] - points[crowds[-1][-1]][0] < CROWDED:
            crowds[-1].append(name)
        else:
            crowds.append([name])
    places = {}
    for crowd in crowds:
        crowd.sort(key=lambda name: points[name][1])
        right = max(points[name][0] for name in crowd) + CROWDED
        middle = sum(points[name][1] for name in crowd) / len(crowd)
        for index, name in enumerate(crowd):
            places[name] = (right, middle + step * (index - (len(crowd) - 1) / 2))
    return places


def write(document: Path, zoo: Mapping[str, Any], trained: Mapping[str, Any]) -> None:
    """Puts the tables between the marks of a document, and the plot beside it.

    Raises:
        ValueError: The document has no such marks.
    """
    text = document.read_text("utf-8")
    parts = {
        "costs": f"{costs(zoo)}\n\n{conditions(zoo)}",
        "accuracy": f"{verdict(trained)}\n\n{gains(trained)}\n\n{training(trained)}\n\n![Accuracy against latency]({PLOT})",
    }
    for name, body in parts.items():
        marks = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        start, end = (text.find(mark) for mark in marks)
        if start < 0 or end < start:
            raise ValueError(f"{document} has no marks {' … '.join(mark.strip() for mark in marks)}")
        text = text[: start + len(marks[0])] + body + text[end:]
    plot(trained, document.with_name(PLOT))
    document.write_text(text, "utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the results and writes the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, default=RESULT, help="what `lineside zoo --json` printed")
    parser.add_argument("--trained", type=Path, default=TRAINED, help="what benchmarks/zoo_train.py wrote")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="the Markdown file to write into")
    asked = parser.parse_args(arguments)
    write(asked.document, json.loads(asked.zoo.read_text()), json.loads(asked.trained.read_text()))


if __name__ == "__main__":
    main()
