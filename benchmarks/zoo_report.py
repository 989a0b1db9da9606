"""Writes the table of ``docs/zoo.md`` and the plot beside it from measured figures; measures nothing itself.

usage: lineside zoo --json > benchmarks/results/zoo.json
       python benchmarks/zoo_report.py          writes docs/zoo.md and, where models were trained, docs/zoo.png

Figures of accuracy come from ``benchmarks/results/zoo_train.json`` (``benchmarks/zoo_train.py``); without that file there
are no such columns and no plot.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "zoo.json"
TRAINED = REPOSITORY / "benchmarks" / "results" / "zoo_train.json"
DOCUMENT = REPOSITORY / "docs" / "zoo.md"
PLOT = "zoo.png"
MARKS = ("<!-- zoo -->", "<!-- end of zoo -->")

FIGURES = {"mask_map": "mask mAP50-95", "small_ap": "AP small", "boundary_f": "boundary F"}
"""Figures of accuracy and their headings."""

BASE = "base"


def table(zoo: Mapping[str, Any], trained: Mapping[str, Any]) -> str:
    """The Markdown table, with columns of accuracy for what was trained.

    Args:
        zoo: What ``lineside zoo --json`` printed.
        trained: What ``benchmarks/zoo_train.py`` wrote; empty for nothing.
    """
    entries = trained.get("entries", {})
    figures = [name for name in FIGURES if any(name in entry for entry in entries.values())]
    heads = [
        "model",
        "parameters",
        "GFLOPs",
        "nodes",
        "MB",
        "custom ops",
        "ms",
        "× base",
        *(FIGURES[it] for it in figures),
    ]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * 4} --- |{' ---: |' * (2 + len(figures))}"]
    for entry in zoo["entries"]:
        cells = [
            f"`{entry['name']}`" if entry["name"] != BASE else "base",
            f"{entry['parameters'] / 1e6:.3f} M",
            f"{entry['gflops']:.2f}",
            str(entry["nodes"]),
            f"{entry['bytes'] / 1e6:.2f}",
            ", ".join(f"`{op}`" for op in entry["custom_ops"]) or "",
            f"{entry['latency_ms']:.1f}",
            f"{entry['relative']:.2f}",
            *(cell(entries.get(entry["name"], {}).get(figure)) for figure in figures),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(figure: Mapping[str, Any] | None) -> str:
    """A figure of accuracy with its interval."""
    if figure is None:
        return ""
    interval = figure.get("ci")
    return f"{figure['mean']:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


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


def plot(zoo: Mapping[str, Any], trained: Mapping[str, Any], path: Path) -> bool:
    """Draws accuracy against latency, one point per trained model with its interval.

    Args:
        zoo: What ``lineside zoo --json`` printed.
        trained: What ``benchmarks/zoo_train.py`` wrote.
        path: The picture to write.

    Returns:
        Whether there was anything to draw.
    """
    points = [
        (entry["name"], entry["relative"], trained["entries"][entry["name"]]["mask_map"])
        for entry in zoo["entries"]
        if "mask_map" in trained.get("entries", {}).get(entry["name"], {})
    ]
    if not points:
        return False
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=120)
    for name, latency, accuracy in points:
        mean, interval = accuracy["mean"], accuracy.get("ci")
        colour = "black" if name == BASE else "tab:red" if name == "edge" else "tab:blue"
        bars = [[mean - interval[0]], [interval[1] - mean]] if interval else None
        axes.errorbar([latency], [mean], yerr=bars, fmt="o", color=colour, capsize=3)
        axes.annotate(name, (latency, mean), textcoords="offset points", xytext=(6, 4), fontsize=9)
    axes.set_xlabel(f"latency in onnxruntime, times the base (input {'x'.join(map(str, zoo['imgsz']))})")
    axes.set_ylabel("mask mAP50-95 on fresh synthetic pictures")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
    return True


def write(document: Path, zoo: Mapping[str, Any], trained: Mapping[str, Any]) -> None:
    """Puts the table between the marks of a document, and the plot beside it.

    Raises:
        ValueError: The document has no such marks.
    """
    text = document.read_text("utf-8")
    start, end = (text.find(mark) for mark in MARKS)
    if start < 0 or end < start:
        raise ValueError(f"{document} has no marks {' … '.join(MARKS)}")
    drawn = plot(zoo, trained, document.with_name(PLOT))
    picture = f"\n\n![Accuracy against latency]({PLOT})" if drawn else ""
    body = f"{MARKS[0]}\n{table(zoo, trained)}\n\n{conditions(zoo)}{picture}\n"
    document.write_text(text[:start] + body + text[end:], "utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the results and writes the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, default=RESULT, help="what `lineside zoo --json` printed")
    parser.add_argument("--trained", type=Path, default=TRAINED, help="what benchmarks/zoo_train.py wrote")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="the Markdown file to write into")
    asked = parser.parse_args(arguments)
    trained = json.loads(asked.trained.read_text()) if asked.trained.is_file() else {}
    write(asked.document, json.loads(asked.zoo.read_text()), trained)


if __name__ == "__main__":
    main()
