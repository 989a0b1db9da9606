"""``lineside selftest``: everything about a bundle that only the device itself can show, in one report."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lineside.runtime.errors import BadOption

if TYPE_CHECKING:
    from lineside.runtime.selftest.findings import Report

__all__ = ["command"]

MOST_FRAMES = 1_000_000


class Precision(str, Enum):
    """Arithmetic of the engine."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder, or the same tree in a .zip.")],
    engine: Annotated[
        str, typer.Option(help="tensorrt, or host: the processor in the place of a GPU, which shows no speed.")
    ] = "tensorrt",
    precision: Annotated[
        Precision | None,
        typer.Option(help="Precision of the engine under test [default: of the one that is built, else as build]."),
    ] = None,
    only: Annotated[str, typer.Option(help="Checks to do, with commas between them [default: all].")] = "",
    frames: Annotated[int, typer.Option(help="Frames behind the latency table; 1000 and more show p99.9.")] = 1000,
    seconds: Annotated[float, typer.Option(help="Longest time for them.")] = 60.0,
    size: Annotated[str, typer.Option(help="Size of those frames, WIDTHxHEIGHT px.")] = "1920x1080",
    out: Annotated[Path, typer.Option(help="Folder for selftest.json and selftest.html.")] = Path("selftest"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON too.")] = False,
) -> int:
    """Checks on this device everything that only a device can show, and writes one report to send back.

    Environment, build, golden files at three levels, whole frames beside the processor's, plugins beside the bodies of
    operators, kernels beside the processor, captured graphs, latency, memory, temperatures and clocks. Each line says
    checked, failed, or not checked and why.

    Example: **lineside selftest demo/bearing.bundle**

    Example: **lineside selftest parts.bundle --precision fp16 --frames 5000 --out reports/orin**

    Example: **lineside selftest demo/bearing.bundle --engine host --only parity,replay**

    Exit code: 0 nothing failed; 1 a line failed, and the report says which; 2 there is no GPU, or bad input.
    """
    from lineside.cli.progress import progress
    from lineside.runtime.bundle import open_bundle
    from lineside.runtime.plain import plain
    from lineside.runtime.selftest.run import selftest
    from lineside.runtime.selftest.subject import Options
    from lineside.runtime.selftest.writing import check_place, write_report

    if not 1 <= frames <= MOST_FRAMES or not seconds > 0:
        raise BadOption(
            f"--frames {frames} --seconds {seconds:g}: give 1 to {MOST_FRAMES} frames and some time for them"
        )
    options = Options(
        engine=engine,
        precision=None if precision is None else precision.value,
        frames=frames,
        seconds=seconds,
        size=_size(size),
    )
    opened = open_bundle(bundle)
    check_place(out, opened)
    chosen = [word.strip() for word in only.split(",") if word.strip()]
    if only and not chosen:
        raise BadOption(f"--only {only!r} names no check: leave it out for all of them")
    with progress("selftest") as update:
        report = selftest(opened, options, chosen, update)
    written = write_report(report, out)
    if as_json:
        print(json.dumps(plain(report)))
    else:
        _show(report, written)
    return 0 if report.passed else 1


def _size(text: str) -> tuple[int, int]:
    """Height and width of ``WIDTHxHEIGHT``."""
    from lineside.runtime.preprocess import MAX_SIDE

    words = text.lower().split("x")
    if len(words) == 2 and all(word.isascii() and word.isdigit() for word in words):
        width, height = (int(word) for word in words)
        if 1 <= min(width, height) <= max(width, height) <= MAX_SIDE:
            return height, width
    raise BadOption(f"--size {text}: give WIDTHxHEIGHT in pixels, such as 1920x1080")


def _show(report: Report, written: tuple[Path, Path]) -> None:
    """Every line, the latency table, and where the report lies."""
    from lineside.cli.tables import print_table
    from lineside.runtime.selftest.table import TITLES

    for name, title in TITLES.items():
        rows = [[line.name, line.verdict, _reason(line.text)] for line in report.lines if line.check == name]
        if rows:
            print_table(title, ["", "verdict", "what was found"], rows)
    for table in report.tables:
        if table.check == "latency":
            cells = [[_cell(cell) for cell in row] for row in table.rows]
            print_table(table.title, [table.columns[0], *(f">{column}" for column in table.columns[1:])], cells)
    counts = ", ".join(f"{report.count(verdict)} {verdict}" for verdict in ("checked", "failed", "not checked"))
    print(f"{counts}; the report: {written[1]} and {written[0]}")
    print("passed" if report.passed else "FAILED: the lines above say what")


def _reason(text: str) -> str:
    return text.removeprefix("not checked, ")


def _cell(cell: object) -> str:
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
