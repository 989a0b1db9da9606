"""``lineside bench-scan``: how fast the forms of the selective scan are here."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lineside.export.bench_scan.run import ScanBench

__all__ = ["SHAPES", "command"]

SHAPES = "1x512x1x400,1x512x1x1600,1x256x16x400,4x512x1x100"
"""SS2D of yolo11n at 640 px, at P5 and at P4; 16 states; a batch of four at 320 px."""


class Device(str, Enum):
    """Where to measure."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def command(
    shapes: Annotated[
        str,
        typer.Option(help="Scans: batch x channels x states x steps, and x groups if not 4; separated by commas."),
    ] = SHAPES,
    modes: Annotated[str, typer.Option(help="Modes, separated by commas [default: all].")] = "",
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; in each, every mode has its turn.")] = 5,
    threads: Annotated[int, typer.Option(min=0, help="Threads [default: as many as torch takes].")] = 0,
    device: Annotated[Device, typer.Option(help="auto: a GPU where torch sees one, else the CPU.")] = Device.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON on stdout.")] = False,
) -> int:
    """Times the selective scan in every form that runs here, forward and with its gradients.

    Example: **lineside bench-scan**

    Example: **lineside bench-scan --shapes 1x512x1x400,1x256x16x1600 --modes ref,two-level,onnx-scan --repeats 20**

    Modes: **ref** step by step; **easy** by chunks, in a form that does not overflow; **two-level** what models train
    with; **associative** by pairs; **onnx-scan** what exported models run; **mamba_ssm**, **sscore**,
    **sscorendstate** the kernels of those packages, where their GPU builds are installed. Medians of interleaved
    rounds; errors are those from the plain recurrence in float64, relative to the largest value.

    Exit code: 0 done; 1 a form computes something else; 2 wrong usage, or none of the modes can run here.
    """
    from lineside.cli.progress import progress
    from lineside.export.bench_scan.modes import MODES
    from lineside.export.bench_scan.problem import parse_shapes
    from lineside.export.bench_scan.run import check_modes, measure_scans

    sizes = parse_shapes(shapes)
    names = check_modes([name.strip() for name in modes.split(",")] if modes else list(MODES))
    with progress("measuring") as update:
        bench = measure_scans(sizes, names, repeats, threads, device.value, update)
    if as_json:
        from lineside.runtime.plain import plain

        print(json.dumps(plain(bench)))
    else:
        _show(bench)
    bench.check()
    return 0


def _show(bench: ScanBench) -> None:
    """Prints a table per shape, and what could not run."""
    from lineside.cli.tables import print_table
    from lineside.export.bench_scan.modes import MODES

    columns = ["mode", "what", ">forward ms", ">fwd+bwd ms", ">error", ">gradient error"]
    for row in bench.rows:
        shape = row.shape
        title = (
            f"batch {shape.batch}, channels {shape.channels}, states {shape.states}, steps {shape.length}, "
            f"groups {shape.groups} (medians of {bench.repeats}, threads {bench.threads}, {bench.device})"
        )
        rows = [
            [
                name,
                MODES[name].says,
                f"{times.forward_ms:.2f}",
                "-" if times.forward_backward_ms is None else f"{times.forward_backward_ms:.2f}",
                f"{times.error:.1e}",
                "-" if times.gradient_error is None else f"{times.gradient_error:.1e}",
            ]
            for name, times in row.modes.items()
        ]
        rows += [[name, reason, "-", "-", "-", "-"] for name, reason in row.left_out.items()]
        print_table(title, columns, rows)
    for name, reason in bench.unavailable.items():
        print(f"not available: {name}: {reason}")
