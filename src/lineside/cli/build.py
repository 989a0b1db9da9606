"""``lineside build``: an engine of TensorRT for this machine, beside the bundle."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lineside.runtime.errors import BadOption

if TYPE_CHECKING:
    from lineside.runtime.engines.tensorrt.building import BuildReport

__all__ = ["command"]

MOST_WORKSPACE = 1 << 20
"""MiB; more than any GPU has, and what TensorRT can still count in bytes."""


class Precision(str, Enum):
    """Arithmetic of the model."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder, or the same tree in a .zip.")],
    precision: Annotated[
        Precision | None,
        typer.Option(help="Which of the bundle's models. Default: fp16 where the bundle has it, else fp32."),
    ] = None,
    imgsz: Annotated[
        str | None, typer.Option(help="Input of a dynamic bundle that the engine is tuned for: one number or HxW.")
    ] = None,
    smallest: Annotated[
        str | None, typer.Option("--from", help="Smallest input of a dynamic bundle. Default: as --imgsz.")
    ] = None,
    largest: Annotated[
        str | None, typer.Option("--to", help="Largest input of a dynamic bundle. Default: as --imgsz.")
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(help="Most MiB that TensorRT may use while it works, e.g. 512 on a small Jetson.")
    ] = None,
    plugins: Annotated[
        bool, typer.Option("--plugins/--no-plugins", help="Run Lineside's operators as plugins, or as their bodies.")
    ] = True,
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Compile operators into the plan: it runs without Python (from 10.9).")
    ] = False,
    least: Annotated[
        float | None, typer.Option(help="Least share of the convolution work in that precision, 0 to 1.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Build although there is such an engine already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Builds a TensorRT engine on the machine that is to run it, and writes it into the bundle's folder engines/.

    Takes minutes, and only has to be done again for another GPU, another TensorRT or another bundle; an engine that is
    there already is kept. Beside the plan lies a .json that says what it was built from. For a zip, or a folder that cannot
    be written, both go to the user's cache. Ctrl-C ends it and leaves nothing behind.

    Exit code: 0 the engine is there; 1 it computes in another precision than asked and was not kept; 2 no GPU, no
    TensorRT, not enough memory, or the model is refused.

    Example: lineside build parts.bundle --precision fp16

    Example: lineside build parts.bundle --precision int8 --workspace 512

    Example: lineside build dynamic.bundle --imgsz 640 --from 320 --to 960
    """
    from lineside.cli.progress import progress
    from lineside.cli.sizes import input_size
    from lineside.runtime.bundle import open_bundle
    from lineside.runtime.engines.tensorrt.building import BuildOptions, build_engine
    from lineside.runtime.sizing import at_size

    if workspace is not None and not 1 <= workspace <= MOST_WORKSPACE:
        raise BadOption(f"--workspace {workspace}: give MiB, from 1 to {MOST_WORKSPACE}")
    if least is not None and not 0 <= least <= 1:
        raise BadOption(f"--least {least}: give a share from 0 to 1")
    options = BuildOptions(
        precision=None if precision is None else precision.value,
        workspace=workspace,
        plugins=plugins,
        standalone=standalone,
        smallest=input_size(smallest, "--from"),
        largest=input_size(largest, "--to"),
        least=least,
        fresh=fresh,
    )
    opened = at_size(open_bundle(bundle), input_size(imgsz))
    with progress("build") as update:
        report = build_engine(opened, options, lambda share, note: update(share, 1.0, note))
    if as_json:
        from lineside.runtime.plain import plain

        print(json.dumps(plain(report)))
    else:
        _show(report)
    return 0


def _show(report: BuildReport) -> None:
    """Prints what was built."""
    done = f"built in {report.seconds:.0f} s" if report.built else "there already, and kept (--fresh builds it again)"
    print(f"{report.engine}: {report.megabytes:g} MB, {done}")
    print(f"{report.precision} ({report.reason}), input {report.profile}")
    print(f"for TensorRT {report.tensorrt} on {report.gpu} (compute capability {report.sm}); it runs on no other kind")
    for names, what in (
        (report.plugins, "compiled into the plan" if report.standalone else "run as plugins"),
        (report.native, "run as TensorRT's own DeformConv"),
        (report.bodies, "run as their bodies, which is slower"),
    ):
        if names:
            print(f"{', '.join(names)}: {what}")
    print(report.audit.sentence(report.precision))
    print("runs without Python" if report.standalone else "needs Lineside to run, for its plugins")
    for line in report.warnings[-3:]:
        print(f"TensorRT warned: {line}")
