"""``lineside zoo``: what the improved models cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lineside.cli.sizes import input_size

if TYPE_CHECKING:
    from lineside.export.zoo.result import Entry, Zoo

__all__ = ["command", "show"]

NOISY = 0.1
"""Share of the machine that others may use before a measurement is called noisy."""


def command(
    scale: Annotated[str, typer.Option(help="Scale of the models: n, s, m, l or x.")] = "n",
    imgsz: Annotated[str, typer.Option(help="Input in pixels: one number or HxW.")] = "640",
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Name of a model, such as edge; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in which every model runs once.")] = 20,
    trained: Annotated[
        Path | None, typer.Option(help="JSON of benchmarks/zoo_train.py. Default: the one beside the models.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Shows parameters, operations, graph, custom ops and latency of every improved model, relative to the base.

    Weights are random: the time of a run does not depend on them. Accuracy is shown where a model was trained.

    Example: lineside zoo --only edge --imgsz 320
    """
    size = input_size(imgsz)
    from lineside.cli.progress import progress
    from lineside.export.zoo.measure import measure_zoo

    with progress("zoo") as update:
        zoo = measure_zoo(
            scale=scale, imgsz=size or (640, 640), only=only or (), rounds=rounds, trained=trained, update=update
        )
    if as_json:
        from lineside.runtime.plain import plain

        print(json.dumps(plain(zoo)))
    else:
        show(zoo)
    return 0


def show(zoo: Zoo) -> None:
    """Prints the table."""
    from lineside.cli.tables import print_table
    from lineside.export.zoo.accuracy import FIGURES

    figures = [figure for figure in FIGURES if any(figure in (entry.accuracy or {}) for entry in zoo.entries)]
    columns = ["model", ">parameters", ">GFLOPs", ">nodes", ">MB", "custom ops", ">ms", ">x base"]
    rows = [[*_row(entry), *(_figure(entry, figure) for figure in figures)] for entry in zoo.entries]
    title = f"YOLO11{zoo.scale}-seg at {'x'.join(map(str, zoo.imgsz))}"
    print_table(title, [*columns, *(f">{figure}" for figure in figures)], rows)
    machine = zoo.machine
    print(
        f"medians of {zoo.rounds} rounds, every model once in each; {machine.threads} threads, {machine.processor}, "
        f"onnxruntime {machine.onnxruntime}, torch {machine.torch}"
    )
    if zoo.training is not None:
        made = zoo.training
        print(
            f"accuracy: after {made.epochs} epochs on {made.pictures} drawn {made.task}s of {made.size} px, on {made.fresh} "
            "fresh ones; it says nothing of other pictures, sizes or longer training"
        )
    if machine.foreign_load > NOISY:
        print(f"noisy: other processes used {machine.foreign_load:.0%} of the machine meanwhile")


def _row(entry: Entry) -> list[str]:
    """What was measured of a model."""
    return [
        entry.name,
        f"{entry.parameters / 1e6:.3f} M",
        f"{entry.gflops:.2f}",
        str(entry.nodes),
        f"{entry.bytes / 1e6:.2f}",
        ", ".join(entry.custom_ops) or "-",
        f"{entry.latency_ms:.1f}",
        f"{entry.relative:.2f}",
    ]


def _figure(entry: Entry, figure: str) -> str:
    """A figure of accuracy with its interval."""
    found = (entry.accuracy or {}).get(figure)
    if found is None:
        return "-"
    interval = found["ci"]
    bounds = f" ({interval[0]:.3f} to {interval[1]:.3f})" if isinstance(interval, list) and len(interval) == 2 else ""
    return f"{found['mean']:.3f}{bounds}"
